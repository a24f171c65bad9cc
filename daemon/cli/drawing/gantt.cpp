#include "daemon/cli/drawing/gantt.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "daemon/cli/drawing/colours.h"
#include "daemon/cli/report.h"

namespace sidestep::cli {
namespace {

using scheduler::Evaluation;
using scheduler::Instance;
using scheduler::PathPlan;
using scheduler::TaskKind;
using scheduler::TaskTime;

constexpr double font = 11;
constexpr double small_font = 9;      // the least that is drawn
constexpr double column_gap = 12;     // between columns of labels
constexpr double labelled_lane = 13;  // the lowest lane that has room for a label
constexpr double label_width_max = 150;
constexpr std::size_t tips_max = 20'000;  // tasks; more make the file too large

std::string_view name(TaskKind kind) {
  return kind == TaskKind::forward ? "forward" : kind == TaskKind::head ? "head" : "backward";
}

std::string style(TaskKind kind) {
  // Colours are the group's; forward: full, backward: pale with an outline, head: dark with an outline.
  if (kind == TaskKind::forward) return "class=\"task forward\" stroke=\"none\"";
  if (kind == TaskKind::backward) return "class=\"task backward\" fill-opacity=\"0.3\"";
  return "class=\"task head\" fill=\"#222\"";
}

class Gantt {
 public:
  Gantt(Svg& svg, double top, const Instance& instance, const PathPlan& plan, const Evaluation& evaluation,
        const GanttView& view)
      : svg_(svg),
        instance_(instance),
        plan_(plan),
        evaluation_(evaluation),
        view_(view),
        nodes_(nodes_by_stage(instance, plan)) {
    const auto count = static_cast<double>(nodes_.size());
    lane_ = count <= 30 ? 21 : count <= 60 ? 17 : count <= 160 ? labelled_lane : std::max(2.0, 2000 / count);
    lane_of_.resize(nodes_.size());
    for (std::size_t i = 0; i < nodes_.size(); ++i) lane_of_[nodes_[i]] = i;
    end_us_ = std::max<std::int64_t>({evaluation.step_us, evaluation.makespan_us, 1});
    spans_ = view_.spans ? *view_.spans : averaging_of_model();
    for (const GanttSpan& span : spans_) end_us_ = std::max(end_us_, span.end_us);
    top_ = top + 22;  // below the title and the axis
    place_columns();
  }

  void draw() {
    svg_.text(Svg::margin, top_ - 22, 14, view_.title, Anchor::start, "font-weight=\"bold\"");
    draw_bands();
    draw_axis();
    draw_busy();
    draw_spans();
    draw_gaps();
    draw_tasks();
    draw_legend();
  }

 private:
  double y(std::size_t lane) const { return top_ + 24 + lane_ * static_cast<double>(lane); }
  double bottom() const { return y(nodes_.size()); }
  double x(std::int64_t us) const { return plot_x_ + static_cast<double>(us) * scale_; }
  double bar_height() const { return lane_ >= labelled_lane ? lane_ - 3 : lane_ >= 4 ? lane_ - 1 : lane_; }
  double bar_y(std::size_t lane) const { return y(lane) + (lane_ - bar_height()) / 2; }
  bool labelled() const { return lane_ >= labelled_lane; }
  // Where text of this size stands in the middle of something.
  static double base_line(double y, double height, double size) { return y + height / 2 + size * 0.36; }

  std::string stages_of(std::uint32_t node) const {
    const auto& held = plan_.stage_of[node];
    if (held.empty()) return "no stage";
    std::string text = held.size() == 1 ? "stage " : "stages ";
    for (std::size_t i = 0; i < held.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(held[i]);
    return text;
  }

  void place_columns() {
    double widths[3] = {0, 0, 0};
    for (const std::uint32_t node : nodes_) {
      const std::string texts[3] = {stages_of(node), instance_.nodes[node].id,
                                    instance_.nodes[node].location};
      for (int i = 0; i < 3; ++i)
        widths[i] = std::max(widths[i], std::min(label_width_max, text_width(texts[i], label_font())));
    }
    if (!labelled()) widths[0] = text_width("stage 1000: 1000 nodes", font), widths[1] = widths[2] = 0;
    double left = Svg::margin;
    for (int i = 0; i < 3; ++i) {
      column_x_[i] = left;
      column_width_[i] = widths[i];
      left += widths[i] + (widths[i] > 0 ? column_gap : 0);
    }
    plot_x_ = left;
    // A forward is to be as wide as the number of its microbatch.
    std::vector<std::int64_t> forwards;
    for (const TaskTime& task : evaluation_.tasks)
      if (task.kind == TaskKind::forward) forwards.push_back(task.end_us - task.begin_us);
    double width = 1000;
    if (!forwards.empty()) {
      const auto middle = forwards.begin() + static_cast<std::ptrdiff_t>(forwards.size() / 2);
      std::nth_element(forwards.begin(), middle, forwards.end());
      const double number = text_width(std::to_string(plan_.paths.size() - 1), small_font) + 3;
      width = std::max(19.0, number) * static_cast<double>(end_us_) /
              static_cast<double>(std::max<std::int64_t>(*middle, 1));
    }
    scale_ = std::clamp(width, 900.0, 2600.0) / static_cast<double>(end_us_);
  }

  double label_font() const { return lane_ >= 17 ? font : 10; }

  // The background of each stage's lanes, and the labels beside them.
  void draw_bands() {
    const double right = x(end_us_);
    double free_from = 0;  // the lowest place taken by the label of a group
    bool dark = true;
    for (std::size_t begin = 0; begin < nodes_.size(); dark = !dark) {
      const auto group = [&](std::size_t lane) {
        const auto& held = plan_.stage_of[nodes_[lane]];
        return held.empty() ? instance_.stages : held.front();
      };
      std::size_t end = begin + 1;
      while (end < nodes_.size() && group(end) == group(begin)) ++end;
      const double height = y(end) - y(begin);
      svg_.rect(Svg::margin - 6, y(begin), right - Svg::margin + 6, height,
                dark ? "fill=\"#f1f3f5\"" : "fill=\"#fff\"");
      if (!labelled()) {
        const std::string text =
            (group(begin) == instance_.stages ? "no stage" : "stage " + std::to_string(group(begin))) + ": " +
            std::to_string(end - begin) + (end - begin == 1 ? " node" : " nodes");
        const double base = base_line(y(begin), height, font);
        if (base - font > free_from) {
          svg_.text(column_x_[0], base, font, text);
          free_from = base + font * 0.3;
        }
      }
      for (std::size_t lane = begin; lane < end && labelled(); ++lane) draw_label(lane);
      begin = end;
    }
  }

  void draw_label(std::size_t lane) {
    const std::uint32_t node = nodes_[lane];
    const std::string texts[3] = {stages_of(node), instance_.nodes[node].id, instance_.nodes[node].location};
    const double base = base_line(y(lane), lane_, label_font());
    for (int i = 0; i < 3; ++i)
      svg_.text(column_x_[i], base, label_font(), fitted(texts[i], label_font(), column_width_[i]),
                Anchor::start, i == 0 ? "fill=\"#666\"" : "");
  }

  void draw_axis() {
    const auto ticks = round_ticks(static_cast<double>(end_us_) / 1e6, (x(end_us_) - plot_x_) / 70);
    const int decimals =
        ticks.size() < 2 ? 0 : std::max(0, static_cast<int>(std::ceil(-std::log10(ticks[1]) - 1e-9)));
    double right = x(end_us_);
    for (const double tick : ticks) {
      const double at = plot_x_ + tick * 1e6 * scale_;
      svg_.line(at, y(0) - 5, at, bottom() + 5, "stroke=\"#c8ccd0\" stroke-width=\"1\"");
      const std::string text = fixed(tick, decimals) + (tick == 0 ? " s" : "");
      svg_.text(at, y(0) - 8, font, text, Anchor::middle);
      svg_.text(at, bottom() + 17, font, text, Anchor::middle);
      right = std::max(right, at + text_width(text, font) / 2);
    }
    busy_x_ = right + 8;
    const double end = x(evaluation_.makespan_us);
    svg_.line(end, y(0) - 5, end, bottom() + 5,
              "stroke=\"#222\" stroke-width=\"1.2\" stroke-dasharray=\"4 3\"");
  }

  void draw_busy() {
    if (!labelled()) return;
    svg_.text(busy_x_, y(0) - 8, font, "busy");
    for (std::size_t lane = 0; lane < nodes_.size(); ++lane)
      svg_.text(busy_x_, base_line(y(lane), lane_, label_font()), label_font(),
                fixed(100 * evaluation_.nodes[nodes_[lane]].utilisation, 0) + " %");
  }

  // After the last backward of its stage each node averages it, all of them at a time.
  std::vector<GanttSpan> averaging_of_model() const {
    std::vector<GanttSpan> spans;
    if (evaluation_.stage_averaged_us.empty()) return spans;
    std::vector<std::int64_t> last(instance_.stages, -1);
    for (const TaskTime& task : evaluation_.tasks)
      if (task.kind == TaskKind::backward) last[task.stage] = std::max(last[task.stage], task.end_us);
    for (const std::uint32_t node : nodes_)
      for (const std::uint32_t stage : plan_.stage_of[node])
        if (last[stage] >= 0 && evaluation_.stage_averaged_us[stage] > 0)
          spans.push_back({GanttSpan::Kind::averaging, node, last[stage],
                           last[stage] + evaluation_.stage_averaged_us[stage]});
    return spans;
  }

  struct SpanLook {
    const char* name;
    const char* fill;  // an attribute
    double share;      // of a bar's height
    const char* text;
  };
  static SpanLook look(GanttSpan::Kind kind) {
    if (kind == GanttSpan::Kind::averaging) return {"averaging", "fill=\"#b9a7cf\"", 0.5, "averaging"};
    if (kind == GanttSpan::Kind::validation) return {"validation", "fill=\"#adb5bd\"", 1, "validation"};
    return {"commit-wait", "fill=\"#d5b981\"", 0.2, "waiting for Commit"};
  }

  void draw_spans() {
    for (const GanttSpan& span : spans_) {
      const SpanLook how = look(span.kind);
      const double height = bar_height() * how.share;
      const std::string tip = spans_.size() > tips_max ? ""
                                                       : how.text + (": " + seconds_text(span.begin_us, 3)) +
                                                             " to " + seconds_text(span.end_us, 3);
      svg_.rect(x(span.begin_us), bar_y(lane_of_[span.node]) + (bar_height() - height) / 2,
                static_cast<double>(span.end_us - span.begin_us) * scale_, height,
                std::string("class=\"") + how.name + "\" " + how.fill, view_.spans ? tip : "");
    }
  }

  void draw_gaps() {
    if (instance_.task_gap_us == 0 || lane_ < 4) return;
    std::vector<std::string> strokes(nodes_.size());
    for (const TaskTime& task : evaluation_.tasks) {
      const double from = x(task.end_us), to = std::min(x(task.end_us + instance_.task_gap_us), x(end_us_));
      if (to > from) strokes[task.node] += "M" + px(from) + " " + px(middle(task)) + "H" + px(to);
    }
    for (const std::string& stroke : strokes)
      if (!stroke.empty()) svg_.path(stroke, "stroke=\"#9aa1a8\" stroke-width=\"2\" fill=\"none\"");
  }

  double middle(const TaskTime& task) const { return y(lane_of_[task.node]) + lane_ / 2; }

  void draw_tasks() {
    std::vector<std::vector<const TaskTime*>> by_path(plan_.paths.size());
    for (const TaskTime& task : evaluation_.tasks) by_path[task.path].push_back(&task);
    for (std::size_t path = 0; path < by_path.size(); ++path) {
      const Colour colour = series_colour(path, by_path.size());
      svg_.open_group("fill=\"" + colour.hex() + "\" stroke=\"" + colour.hex() + "\" stroke-width=\"" +
                      (lane_ >= labelled_lane ? "1" : "0.4") + "\"");
      for (const TaskTime* task : by_path[path]) draw_task(*task);
      svg_.close_group();
      draw_numbers(by_path[path], colour);
    }
  }

  // The outline lies within the task's own time.
  void draw_task(const TaskTime& task) {
    const bool outlined = task.kind != TaskKind::forward && lane_ >= labelled_lane;
    const double inset = outlined ? 0.5 : 0;
    const double width = std::max(0.1, static_cast<double>(task.end_us - task.begin_us) * scale_ - 2 * inset);
    std::string tip;
    if (evaluation_.tasks.size() <= tips_max)
      tip = "microbatch " + std::to_string(plan_.paths[task.path].microbatch) + ", stage " +
            std::to_string(task.stage) + ", " + std::string(name(task.kind)) + ": " +
            seconds_text(task.begin_us, 3) + " to " + seconds_text(task.end_us, 3);
    svg_.rect(x(task.begin_us) + inset, bar_y(lane_of_[task.node]) + inset, width, bar_height() - 2 * inset,
              style(task.kind), tip);
  }

  void draw_numbers(const std::vector<const TaskTime*>& tasks, const Colour& colour) {
    if (!labelled() || tasks.empty()) return;
    const std::string text = std::to_string(plan_.paths[tasks.front()->path].microbatch);
    for (const TaskTime* task : tasks) {
      const double width = static_cast<double>(task->end_us - task->begin_us) * scale_;
      if (task->kind == TaskKind::head || width < text_width(text, small_font) + 2) continue;
      svg_.text(x(task->begin_us) + width / 2,
                base_line(bar_y(lane_of_[task->node]), bar_height(), small_font), small_font, text,
                Anchor::middle, task->kind == TaskKind::forward ? "fill=\"" + colour.text_on() + "\"" : "");
    }
  }

  void draw_legend() {
    const double y0 = bottom() + 32;
    double left = plot_x_;
    const std::string blue =
        "fill=\"" + series_colour(0, 1).hex() + "\" stroke=\"" + series_colour(0, 1).hex() + "\" ";
    const auto entry = [&](const std::string& attributes, double height, const std::string& text) {
      svg_.rect(left, y0 + (12 - height) / 2, 22, height, attributes);
      svg_.text(left + 28, y0 + 10, font, text);
      left += 28 + text_width(text, font) + 22;
    };
    entry(blue + "stroke-width=\"0\"", 12, "forward");
    entry("fill=\"#222\" stroke=\"" + series_colour(0, 1).hex() + "\"", 12, "head");
    entry(blue + "fill-opacity=\"0.3\"", 12, "backward");
    if (instance_.task_gap_us > 0 && lane_ >= 4) entry("fill=\"#9aa1a8\"", 2, "gap after a task");
    for (const auto kind :
         {GanttSpan::Kind::averaging, GanttSpan::Kind::validation, GanttSpan::Kind::commit_wait}) {
      const bool averages = kind == GanttSpan::Kind::averaging && !evaluation_.stage_averaged_us.empty();
      if (averages || std::ranges::find(spans_, kind, &GanttSpan::kind) != spans_.end())
        entry(look(kind).fill, 12 * look(kind).share, look(kind).text);
    }
    svg_.text(left, y0 + 10, font,
              std::string(labelled() ? "colour and number: microbatch" : "colour: microbatch") +
                  "; dashed line: " + view_.end_name);
  }

  Svg& svg_;
  const Instance& instance_;
  const PathPlan& plan_;
  const Evaluation& evaluation_;
  const GanttView& view_;
  const std::vector<std::uint32_t> nodes_;  // by lane
  std::vector<GanttSpan> spans_;
  std::vector<std::size_t> lane_of_;  // by node
  double lane_ = 0, top_ = 0, plot_x_ = 0, busy_x_ = 0, scale_ = 0;
  double column_x_[3] = {}, column_width_[3] = {};
  std::int64_t end_us_ = 1;
};

}  // namespace

std::vector<double> round_ticks(double end, double wanted) {
  double step = std::pow(10, std::floor(std::log10(end / std::max(wanted, 1.0))));
  for (const double factor : {2.0, 2.5, 2.0})
    if (end / step > wanted) step *= factor;
  std::vector<double> ticks;
  for (int i = 0; i * step <= end * (1 + 1e-9); ++i) ticks.push_back(i * step);
  return ticks;
}

std::vector<std::uint32_t> nodes_by_stage(const Instance& instance, const PathPlan& plan) {
  std::vector<std::uint32_t> nodes(instance.node_count());
  std::iota(nodes.begin(), nodes.end(), 0);
  const auto first = [&](std::uint32_t node) {
    return plan.stage_of[node].empty() ? instance.stages : plan.stage_of[node].front();
  };
  std::stable_sort(nodes.begin(), nodes.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return first(a) < first(b); });
  return nodes;
}

std::string seconds_text(std::int64_t us, int decimals) {
  return fixed(static_cast<double>(us) / 1e6, decimals) + " s";
}

void draw_gantt(Svg& svg, double top, const Instance& instance, const PathPlan& plan,
                const Evaluation& evaluation, const GanttView& view) {
  Gantt(svg, top, instance, plan, evaluation, view).draw();
}

}  // namespace sidestep::cli
