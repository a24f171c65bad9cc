#include "daemon/cli/drawing/step_drawing.h"

#include <algorithm>
#include <map>

#include "daemon/cli/drawing/gantt.h"
#include "daemon/cli/drawing/svg.h"
#include "daemon/cli/report.h"

namespace sidestep::cli {
namespace {

using scheduler::Evaluation;
using scheduler::Instance;
using scheduler::PathPlan;
using scheduler::TaskKind;
using scheduler::TaskTime;

// As a plan on twice the nodes: each is there as it was measured, and next to that as it was predicted.
class StepChart {
 public:
  explicit StepChart(const nlohmann::json& times) : nodes_(times.at("nodes").size()) {
    instance_.stages = times.at("stages").get<std::uint32_t>();
    for (const nlohmann::json& node : times.at("nodes"))
      for (const char* lane : {"measured", "predicted"}) {
        scheduler::InstanceNode& one = instance_.nodes.emplace_back();
        one.id = text_in(node, "nickname");
        one.location = lane;
        plan_.stage_of.push_back(node.at("stages").get<std::vector<std::uint32_t>>());
      }
    for (const nlohmann::json& microbatch : times.at("microbatches")) {
      path_of_[microbatch.get<std::uint32_t>()] = static_cast<std::uint32_t>(plan_.paths.size());
      plan_.paths.push_back({microbatch.get<std::uint32_t>(), {}});
    }
    last_us_.resize(instance_.nodes.size(), 0);
    busy_us_.resize(instance_.nodes.size(), 0);
    take(times.at("measured"), 0);
    take(times.at("predicted"), 1);
    take_commits(times.at("nodes"));
    predicted_us_ = times.at("predicted").at("step_us").get<std::int64_t>();
    finish();
  }

  const Status& problem() const { return problem_; }
  std::size_t nodes() const { return nodes_; }
  std::int64_t commit_us() const { return commit_us_; }
  std::int64_t predicted_us() const { return predicted_us_; }

  void draw(Svg& svg, double top) const {
    draw_gantt(svg, top, instance_, plan_, evaluation_,
               {"Tasks of each node, measured and predicted", "the last Commit", spans_});
  }

 private:
  // The lane of a node's place in the answer; `side` 0: measured, 1: predicted.
  std::uint32_t lane(const nlohmann::json& place, std::uint32_t side) {
    const auto node = place.get<std::uint32_t>();
    if (node < nodes_) return 2 * node + side;
    problem_ = Status::internal("the scheduler's answer tells of a node that it does not list");
    return side;
  }

  void take(const nlohmann::json& part, std::uint32_t side) {
    for (const nlohmann::json& entry : part.at("tasks")) {
      const std::uint32_t node = lane(entry.at(0), side);
      const auto begin_us = entry.at(5).get<std::int64_t>(), end_us = entry.at(6).get<std::int64_t>();
      last_us_[node] = std::max(last_us_[node], end_us);
      busy_us_[node] += end_us - begin_us;
      const std::string kind = entry.at(1).get<std::string>();
      if (kind == "validation") {
        spans_.push_back({GanttSpan::Kind::validation, node, begin_us, end_us});
        continue;
      }
      const auto path = path_of_.find(entry.at(3).get<std::uint32_t>());
      const auto stage = entry.at(2).get<std::uint32_t>();
      if (path == path_of_.end() || stage >= instance_.stages) {
        problem_ =
            Status::internal("the scheduler's answer tells of a microbatch or stage that is not there");
        return;
      }
      evaluation_.tasks.push_back({kind == "forward" ? TaskKind::forward
                                   : kind == "head"  ? TaskKind::head
                                                     : TaskKind::backward,
                                   path->second, stage, node, entry.at(4).get<std::int64_t>(), begin_us,
                                   end_us});
    }
    for (const nlohmann::json& entry : part.at("averages")) {
      const std::uint32_t node = lane(entry.at(0), side);
      const auto begin_us = entry.at(2).get<std::int64_t>(), end_us = entry.at(3).get<std::int64_t>();
      last_us_[node] = std::max(last_us_[node], end_us);
      spans_.push_back({GanttSpan::Kind::averaging, node, begin_us, end_us});
    }
  }

  void take_commits(const nlohmann::json& nodes) {
    std::uint32_t lane = 0;
    for (const nlohmann::json& node : nodes) {
      const auto at_us = node.at("commit_us").get<std::int64_t>();
      commit_us_ = std::max(commit_us_, at_us);
      if (at_us > last_us_[lane])
        spans_.push_back({GanttSpan::Kind::commit_wait, lane, last_us_[lane], at_us});
      lane += 2;
    }
  }

  void finish() {
    evaluation_.finishes = true;
    evaluation_.makespan_us = evaluation_.step_us = commit_us_;
    for (std::size_t node = 0; node < instance_.nodes.size(); ++node) {
      const std::int64_t whole_us = std::max<std::int64_t>(1, node % 2 == 0 ? commit_us_ : predicted_us_);
      evaluation_.nodes.push_back(
          {0, busy_us_[node], static_cast<double>(busy_us_[node]) / static_cast<double>(whole_us)});
    }
    std::ranges::stable_sort(evaluation_.tasks, {}, &TaskTime::begin_us);
  }

  std::size_t nodes_;
  Instance instance_;
  PathPlan plan_;
  Evaluation evaluation_;
  std::vector<GanttSpan> spans_;
  std::map<std::uint32_t, std::uint32_t> path_of_;  // by microbatch
  std::vector<std::int64_t> last_us_, busy_us_;     // by lane
  std::int64_t commit_us_ = 0, predicted_us_ = 0;
  Status problem_;
};

std::string seconds_in(const nlohmann::json& times, const char* key) {
  const auto value = number_in(times, key);
  return value ? fixed(*value, 3) + " s" : "not known";
}

}  // namespace

Result<std::string> draw_step(const nlohmann::json& times) {
  const StepChart chart(times);
  if (!chart.problem().ok()) return chart.problem();
  const std::string headline = "Job " + text_in(times, "job") + ": step " +
                               fixed(number_in(times, "step").value_or(0), 0) + " under plan " +
                               fixed(number_in(times, "epoch").value_or(0), 0);
  Svg svg;
  double y = Svg::margin + 18;
  svg.text(Svg::margin, y, 18, headline);
  const auto say = [&](const std::string& text) {
    svg.text(Svg::margin, y += 18, 12, text, Anchor::start, "fill=\"#555\"");
  };
  say(std::to_string(chart.nodes()) + " nodes, " + std::to_string(times.at("microbatches").size()) +
      " microbatches; from begin to Commit " + seconds_text(chart.commit_us(), 3) +
      ", predicted by what tasks and links take now " + seconds_text(chart.predicted_us(), 3));
  say("predicted when the plan was made " + seconds_in(times, "predicted_step_s") +
      "; median of the last steps, from Commit to Commit, " + seconds_in(times, "measured_step_s"));
  say("A node's times count from when that node itself began the step: lanes of different nodes may be apart "
      "by "
      "as much as a Commit is on its way.");
  chart.draw(svg, y + 34);
  return svg.document(headline);
}

}  // namespace sidestep::cli
