// Follows one job through a SimCluster: its plans and steps, who went, where the nodes' time went, and the
// trace. Everything counts from the job's first step.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "daemon/simulator/sim_cluster.h"
#include "daemon/simulator/time_split.h"

namespace sidestep::sim {

// Times are microseconds from the job's first step.
struct SimPlan {
  std::uint64_t epoch = 0;
  std::int64_t at_us = 0;
  std::size_t nodes = 0;              // that hold a stage
  std::int64_t predicted_us = 0;      // of the step that is next; 0: not known
  std::vector<std::int64_t> took_us;  // its steps, from commit to commit
};

struct SimNote {
  std::int64_t at_us = 0;
  std::string who;
  std::string what;
};

class SwarmWatch : public SimObserver {
 public:
  // One line of the trace: seconds from the first step, who, what.
  using Trace = std::function<void(const std::string& line)>;

  explicit SwarmWatch(Trace trace) : trace_(std::move(trace)) {}
  // Once, before the cluster starts; it must live as long as it has events.
  void attach(const SimCluster& cluster) { cluster_ = &cluster; }
  // Whose first step begins all counting, and whose last one ends the split of the time.
  void follow(std::string job, std::uint64_t last_step);

  void on_started(Us now, Node node) override;
  void on_ended(Us now, Node node) override;
  void on_paused(Us now, Node node) override;
  void on_resumed(Us now, Node node) override;
  void on_task_begun(Us now, Node node, const daemon::Task& task) override;
  void on_task_ended(Us now, Node node) override;
  void on_sent(Us now, const net::SimPacket& packet, Us arrival) override;
  void on_stored(Us now, const scheduler::StoreChange& change) override;
  void on_line(Us now, const std::string& who, const net::LogLine& line) override;

  // For people; what the caller does to the swarm.
  void note(Us now, const std::string& who, const std::string& what);
  // Nothing counts after it; what no update has followed counts as `rest`.
  void finish(Us now, Share rest);

  std::size_t members() const { return members_.size(); }  // of the view
  bool begun() const { return begin_us_.has_value(); }
  // Of the first step, on the cluster's clock. Precondition: begun().
  std::int64_t begin_us() const { return *begin_us_; }
  // Of the last commit or of finish(). Precondition: one of these was.
  std::int64_t end_us() const { return *end_us_; }
  const Shares& shares() const { return split_.shares(); }
  const std::vector<SimPlan>& plans() const { return plans_; }  // in the order in which they came
  const std::vector<SimNote>& notes() const { return notes_; }
  std::uint64_t steps() const { return steps_; }  // committed, of training
  bool has_all_steps() const { return steps_ == last_step_; }
  std::uint64_t tokens() const { return tokens_; }  // of these steps

 private:
  void take_view(Us now, const net::View& view);
  void take_job(Us now, const scheduler::JobRow& row);
  void take_record(Us now, const scheduler::AppendRecord& record);
  void take_plan(Us now, const scheduler::JobRow& row);
  void write(Us now, const std::string& who, const std::string& what) const;

  Trace trace_;
  const SimCluster* cluster_ = nullptr;
  std::string job_;
  std::uint64_t last_step_ = 0;
  std::optional<std::int64_t> begin_us_, end_us_;
  TimeSplit split_;
  std::set<std::size_t> members_, holders_;
  std::map<std::size_t, std::size_t> running_;  // kind of the task, by node
  std::vector<SimPlan> plans_;
  std::vector<SimNote> notes_;
  std::uint64_t steps_ = 0, tokens_ = 0;
};

}  // namespace sidestep::sim
