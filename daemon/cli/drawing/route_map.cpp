#include "daemon/cli/drawing/route_map.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "daemon/cli/drawing/colours.h"
#include "daemon/cli/drawing/gantt.h"
#include "daemon/cli/drawing/layers.h"

namespace sidestep::cli {
namespace {

using scheduler::Instance;
using scheduler::Path;
using scheduler::PathHop;
using scheduler::PathPlan;

constexpr double font = 11;
constexpr double box_font = 10;
constexpr double row_font = 9;
constexpr double row_height = 12;
constexpr double header_height = 16;
constexpr std::size_t lines_max = 1500;  // of MapDetail::nodes

using Edge = std::pair<std::pair<std::uint32_t, std::uint32_t>, std::pair<std::uint32_t, std::uint32_t>>;

std::map<Edge, std::uint32_t> edges_of(const PathPlan& plan) {
  std::map<Edge, std::uint32_t> edges;
  for (const Path& path : plan.paths)
    for (std::size_t i = 1; i < path.hops.size(); ++i)
      ++edges[{{path.hops[i - 1].stage, path.hops[i - 1].node}, {path.hops[i].stage, path.hops[i].node}}];
  return edges;
}

// A line from one box to another.
struct Wire {
  std::uint32_t from = 0, to = 0;     // items
  std::vector<std::uint32_t> passes;  // items, in the order in which it comes to them
  double from_y = 0, to_y = 0;
  double width = 1;
  bool back = false;  // a swap
  std::string colour, dashes, tip;
  std::uint32_t path = 0;  // MapDetail::microbatches: whose, and from which of its hops
  std::size_t hop = 0;
};

struct LaneRow {
  std::uint32_t path = 0;
  std::size_t hop = 0;
  double wanted_y = 0;
};

class RouteMap {
 public:
  RouteMap(Svg& svg, double top, const Instance& instance, const PathPlan& plan, bool microbatches)
      : svg_(svg), top_(top), instance_(instance), plan_(plan), microbatches_(microbatches) {}

  void draw() {
    make_boxes();
    microbatches_ ? make_microbatch_wires() : make_edge_wires();
    place();
    svg_.text(Svg::margin, top_ + 14, 14, "Routes over the stages", Anchor::start, "font-weight=\"bold\"");
    draw_headers();
    for (const Wire& wire : wires_) draw_wire(wire);
    for (const auto& [where, item] : box_of_) draw_box(where.first, where.second, item);
    draw_legend();
  }

 private:
  double body_top() const { return top_ + 64; }

  void make_boxes() {
    visits_.assign(instance_.stages, 0);
    for (const std::uint32_t node : nodes_by_stage(instance_, plan_))
      for (const std::uint32_t stage : plan_.stage_of[node]) add_box(stage, node);
    for (std::uint32_t p = 0; p < plan_.paths.size(); ++p)
      for (std::size_t h = 0; h < plan_.paths[p].hops.size(); ++h) {
        const PathHop& hop = plan_.paths[p].hops[h];
        add_box(hop.stage, hop.node);  // where a plan breaks the rules, it may not hold the stage
        rows_[box_of_.at({hop.stage, hop.node})].push_back({p, h});
        ++visits_[hop.stage];
      }
    std::vector<std::size_t> boxes(instance_.stages, 0);
    for (const LayerItem& item : layers_.items) ++boxes[item.column];
    const bool crowded = *std::max_element(boxes.begin(), boxes.end()) > 70;
    labelled_ = microbatches_ || !crowded;
    for (std::uint32_t i = 0; i < layers_.items.size(); ++i)
      layers_.items[i].height = microbatches_
                                    ? header_height + row_height * static_cast<double>(rows_[i].size())
                                : labelled_ ? header_height
                                            : 5;
  }

  void add_box(std::uint32_t stage, std::uint32_t node) {
    if (!box_of_.emplace(std::make_pair(stage, node), layers_.items.size()).second) return;
    layers_.items.push_back({stage, 0, true});
    rows_.emplace_back();
  }

  // A wire between two boxes, with a place in every column that it passes.
  Wire wire_between(std::pair<std::uint32_t, std::uint32_t> from, std::pair<std::uint32_t, std::uint32_t> to,
                    double width) {
    Wire wire;
    wire.from = box_of_.at(from);
    wire.to = box_of_.at(to);
    wire.width = width;
    wire.back = to.first <= from.first;
    const auto link = [&](std::uint32_t a, std::uint32_t b) { layers_.links.push_back({a, b}); };
    std::uint32_t last = wire.from;
    for (std::uint32_t c = from.first; c != to.first;) {
      c = to.first > c ? c + 1 : c - 1;
      if (c == to.first) break;
      const std::uint32_t item = pass_of(wire.from, c, width);
      link(last, item);
      wire.passes.push_back(item);
      last = item;
    }
    link(last, wire.to);
    return wire;
  }

  // Where lines from one box pass a column: each for itself, or, where they are too many, all together.
  std::uint32_t pass_of(std::uint32_t from, std::uint32_t column, double width) {
    const auto next = static_cast<std::uint32_t>(layers_.items.size());
    const std::uint32_t item =
        microbatches_ ? next : shared_.emplace(std::make_pair(from, column), next).first->second;
    if (item == next) layers_.items.push_back({column, 0});
    layers_.items[item].height = std::max(layers_.items[item].height, width + 3);
    return item;
  }

  void make_microbatch_wires() {
    const auto count = static_cast<double>(plan_.paths.size());
    const double width = count <= 40 ? 1.8 : count <= 70 ? 1.4 : 1.1;
    for (std::uint32_t p = 0; p < plan_.paths.size(); ++p)
      for (std::size_t h = 1; h < plan_.paths[p].hops.size(); ++h) {
        const PathHop &from = plan_.paths[p].hops[h - 1], &to = plan_.paths[p].hops[h];
        Wire wire = wire_between({from.stage, from.node}, {to.stage, to.node}, width);
        wire.colour = series_colour(p, plan_.paths.size()).hex();
        wire.dashes = wire.back ? swap_hop.dashes : "";
        wire.tip = "microbatch " + std::to_string(plan_.paths[p].microbatch) + ": stage " +
                   std::to_string(from.stage) + " to " + std::to_string(to.stage);
        wire.path = p;
        wire.hop = h - 1;
        wires_.push_back(wire);
      }
  }

  void make_edge_wires() {
    const auto edges = edges_of(plan_);
    for (const auto& [edge, count] : edges) widest_ = std::max(widest_, count);
    for (const auto& [edge, count] : edges) {
      Wire wire = wire_between(
          edge.first, edge.second,
          0.8 + 4.2 * static_cast<double>(count - 1) / std::max(1.0, static_cast<double>(widest_ - 1)));
      const HopStyle& style = hop_style(edge.first.first, edge.second.first);
      wire.colour = style.colour;
      wire.dashes = style.dashes;
      wire.tip = instance_.nodes[edge.first.second].id + " to " + instance_.nodes[edge.second.second].id +
                 ": " + std::to_string(count);
      wires_.push_back(wire);
    }
  }

  void place() {
    height_ = arrange(layers_, instance_.stages, microbatches_ ? 14 : labelled_ ? 7 : 3);
    for (LayerItem& item : layers_.items) item.y += body_top();
    microbatches_ ? place_rows() : spread_ends();
    column_x_.resize(instance_.stages);
    column_width_.assign(instance_.stages, 0);
    for (std::uint32_t stage = 0; stage < instance_.stages; ++stage)
      column_width_[stage] = std::max(text_width(header(stage), font), text_width(counts(stage), box_font));
    if (labelled_)
      for (const auto& [where, item] : box_of_)
        column_width_[where.first] = std::max(column_width_[where.first],
                                              std::min(150.0, text_width(label(where.second), box_font) + 8));
    // As wide as what is above it, within reason.
    const double taken = std::accumulate(column_width_.begin(), column_width_.end(), Svg::margin);
    const double gap = std::clamp((svg_.width() - taken) / std::max(1u, instance_.stages - 1), 50.0, 230.0);
    double left = Svg::margin;
    for (std::uint32_t stage = 0; stage < instance_.stages; ++stage) {
      column_x_[stage] = left;
      left += column_width_[stage] + gap;
    }
  }

  // Rows of a box go by where their lines come from and go to.
  void place_rows() {
    std::vector<std::map<std::pair<std::uint32_t, std::size_t>, std::pair<double, int>>> seen(rows_.size());
    for (const Wire& wire : wires_) {
      const double after = layers_.items[wire.passes.empty() ? wire.to : wire.passes.front()].middle();
      const double before = layers_.items[wire.passes.empty() ? wire.from : wire.passes.back()].middle();
      auto& leaving = seen[wire.from][{wire.path, wire.hop}];
      leaving.first += after, ++leaving.second;
      auto& coming = seen[wire.to][{wire.path, wire.hop + 1}];
      coming.first += before, ++coming.second;
    }
    std::vector<std::map<std::pair<std::uint32_t, std::size_t>, double>> row_y(rows_.size());
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      for (LaneRow& row : rows_[i]) {
        const auto [sum, count] = seen[i][{row.path, row.hop}];
        row.wanted_y = count > 0 ? sum / count : 0;
      }
      std::stable_sort(rows_[i].begin(), rows_[i].end(),
                       [](const LaneRow& a, const LaneRow& b) { return a.wanted_y < b.wanted_y; });
      for (std::size_t r = 0; r < rows_[i].size(); ++r)
        row_y[i][{rows_[i][r].path, rows_[i][r].hop}] =
            layers_.items[i].y + header_height + row_height * (static_cast<double>(r) + 0.5);
    }
    // A turn, in and out on the same side, has its two ends apart.
    std::map<std::pair<std::uint32_t, std::size_t>, bool> goes_back;
    for (const Wire& wire : wires_) goes_back[{wire.path, wire.hop}] = wire.back;
    const auto turns = [&](std::uint32_t path, std::size_t hop, bool back) {
      const auto other = goes_back.find({path, hop});
      return other != goes_back.end() && other->second != back;
    };
    for (Wire& wire : wires_) {
      const bool out = wire.hop > 0 && turns(wire.path, wire.hop - 1, wire.back);
      wire.from_y = row_y[wire.from].at({wire.path, wire.hop}) + (out ? 2.5 : 0);
      const bool in = turns(wire.path, wire.hop + 1, wire.back);
      wire.to_y = row_y[wire.to].at({wire.path, wire.hop + 1}) - (in ? 2.5 : 0);
    }
  }

  // Ends of wires share the side of their box, in the order of where they go.
  void spread_ends() {
    struct End {
      double* y;
      double other_y;
    };
    std::map<std::pair<std::uint32_t, bool>, std::vector<End>> sides;  // item, whether on its right
    for (Wire& wire : wires_) {
      const double after = layers_.items[wire.passes.empty() ? wire.to : wire.passes.front()].middle();
      const double before = layers_.items[wire.passes.empty() ? wire.from : wire.passes.back()].middle();
      sides[{wire.from, !wire.back}].push_back({&wire.from_y, after});
      sides[{wire.to, wire.back}].push_back({&wire.to_y, before});
    }
    for (auto& [side, ends] : sides) {
      std::stable_sort(ends.begin(), ends.end(),
                       [](const End& a, const End& b) { return a.other_y < b.other_y; });
      const LayerItem& item = layers_.items[side.first];
      for (std::size_t i = 0; i < ends.size(); ++i)
        *ends[i].y = item.y + item.height * (static_cast<double>(i) + 0.5) / static_cast<double>(ends.size());
    }
  }

  std::string header(std::uint32_t stage) const { return "stage " + std::to_string(stage); }
  std::string counts(std::uint32_t stage) const {
    if (instance_.stage_out[stage] != 0) return "out";
    return std::to_string(visits_[stage]) + (visits_[stage] == 1 ? " visit" : " visits");
  }
  std::string label(std::uint32_t node) const {
    const auto& machine = instance_.nodes[node];
    return machine.id + (machine.location.empty() ? "" : " " + machine.location);
  }

  void draw_headers() {
    for (std::uint32_t stage = 0; stage < instance_.stages; ++stage) {
      const double middle = column_x_[stage] + column_width_[stage] / 2;
      svg_.text(middle, top_ + 38, font, header(stage), Anchor::middle);
      svg_.text(middle, top_ + 52, box_font, counts(stage), Anchor::middle, "fill=\"#666\"");
    }
  }

  void draw_wire(const Wire& wire) {
    const auto left = [&](std::uint32_t item) { return column_x_[layers_.items[item].column]; };
    const auto right = [&](std::uint32_t item) {
      return left(item) + column_width_[layers_.items[item].column];
    };
    double x = wire.back ? left(wire.from) : right(wire.from), y = wire.from_y;
    std::string d = "M" + px(x) + " " + px(y);
    const auto curve_to = [&](double to_x, double to_y) {
      const std::string middle = px((x + to_x) / 2);
      d += "C" + middle + " " + px(y) + " " + middle + " " + px(to_y) + " " + px(to_x) + " " + px(to_y);
      x = to_x, y = to_y;
    };
    for (const std::uint32_t item : wire.passes) {
      curve_to(wire.back ? right(item) : left(item), layers_.items[item].middle());
      x = wire.back ? left(item) : right(item);
      d += "H" + px(x);
    }
    const double end = wire.back ? right(wire.to) : left(wire.to);
    curve_to(wire.back ? end + 5 : end, wire.to_y);
    const double opacity = microbatches_ ? 0.9 : wires_.size() < 300 ? 0.7 : wires_.size() < 800 ? 0.5 : 0.35;
    svg_.path(d,
              "class=\"" + std::string(wire.back ? "wire swap" : "wire") + "\" fill=\"none\" stroke=\"" +
                  wire.colour + "\" stroke-width=\"" + px(wire.width) + "\" stroke-opacity=\"" + px(opacity) +
                  "\"" + wire.dashes,
              wire.tip);
    if (wire.back)
      svg_.path("M" + px(end) + " " + px(wire.to_y) + (microbatches_ ? "l7 -3.5v7z" : "l5 -2v4z"),
                "fill=\"" + wire.colour + "\" stroke=\"none\"");
  }

  void draw_box(std::uint32_t stage, std::uint32_t node, std::uint32_t index) {
    const LayerItem& item = layers_.items[index];
    const double x = column_x_[stage], width = column_width_[stage];
    svg_.rect(x, item.y, width, item.height,
              "class=\"node\" rx=\"2\" fill=\"#fff\" stroke=\"#555\" stroke-width=\"1\"");
    if (labelled_)
      svg_.text(x + width / 2, item.y + 11.5, box_font, fitted(label(node), box_font, width - 6),
                Anchor::middle);
    for (std::size_t r = 0; r < rows_[index].size() && microbatches_; ++r) {
      const LaneRow& row = rows_[index][r];
      const Colour colour = series_colour(row.path, plan_.paths.size());
      const double y = item.y + header_height + row_height * static_cast<double>(r);
      svg_.rect(x + 1, y, width - 2, row_height - 1, "fill=\"" + colour.hex() + "\"");
      svg_.text(x + width / 2, y + 8.8, row_font, std::to_string(plan_.paths[row.path].microbatch),
                Anchor::middle, "fill=\"" + colour.text_on() + "\"");
    }
  }

  void draw_legend() {
    const double y = body_top() + height_ + 26;
    if (!microbatches_) {
      const double x = draw_hop_legend(svg_, Svg::margin, y);
      svg_.text(x, y, font, "width: microbatches that go this way, at most " + std::to_string(widest_));
      return;
    }
    const std::string grey = "stroke=\"#555\" stroke-width=\"1.8\"";
    svg_.line(Svg::margin, y - 4, Svg::margin + 30, y - 4, grey);
    const std::string forward = "a microbatch, in its colour; where it passes a column, it skips the stage";
    svg_.text(Svg::margin + 38, y, font, forward);
    const double x = Svg::margin + 38 + text_width(forward, font) + 24;
    svg_.line(x, y - 4, x + 30, y - 4, grey + swap_hop.dashes);
    const std::string swap = swap_hop.text;
    svg_.text(x + 38, y, font, swap);
    svg_.text(Svg::margin, y + 18, font,
              "All routes end where they began, for the head; backwards take the same way.");
  }

  Svg& svg_;
  const double top_;
  const Instance& instance_;
  const PathPlan& plan_;
  const bool microbatches_;
  bool labelled_ = true;
  double height_ = 0;
  std::uint32_t widest_ = 1;
  std::vector<std::uint32_t> visits_;
  Layers layers_;                                                            // its first items are the boxes
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint32_t> box_of_;  // by stage and node
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint32_t> shared_;  // passes, by box and column
  std::vector<std::vector<LaneRow>> rows_;                                   // by box
  std::vector<Wire> wires_;
  std::vector<double> column_x_, column_width_;
};

}  // namespace

MapDetail map_detail(const Instance& instance, const PathPlan& plan) {
  if (instance.node_count() <= 60 && plan.paths.size() <= 100 && instance.stages <= 24)
    return MapDetail::microbatches;
  if (instance.stages > 40) return MapDetail::stages;
  return edges_of(plan).size() <= lines_max ? MapDetail::nodes : MapDetail::stages;
}

void draw_route_map(Svg& svg, double top, const Instance& instance, const PathPlan& plan) {
  const MapDetail detail = map_detail(instance, plan);
  if (detail == MapDetail::stages)
    draw_stage_map(svg, top, instance, plan);
  else
    RouteMap(svg, top, instance, plan, detail == MapDetail::microbatches).draw();
}

const HopStyle& hop_style(std::uint32_t from_stage, std::uint32_t to_stage) {
  if (to_stage <= from_stage) return swap_hop;
  return to_stage == from_stage + 1 ? next_hop : skip_hop;
}

double draw_hop_legend(Svg& svg, double x, double y) {
  for (const HopStyle* style : {&next_hop, &skip_hop, &swap_hop}) {
    svg.line(x, y - 4, x + 30, y - 4,
             "stroke=\"" + std::string(style->colour) + "\" stroke-width=\"2\"" + style->dashes);
    svg.text(x + 38, y, font, style->text);
    x += 38 + text_width(style->text, font) + 24;
  }
  return x;
}

}  // namespace sidestep::cli
