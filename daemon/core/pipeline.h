// The microbatches at one node during one step: what has arrived, what has a slot, what runs next.
// Design: "A step", 1 to 3. A node picks head and backward before forward, then earliest arrival; in a
// deterministic job it adds to each accumulator strictly in plan order. A forward that finds no slot
// within a deadline runs without saving and recomputes at its backward, so that full nodes never wait
// for each other in a ring. Pure.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <vector>

#include "daemon/core/job_context.h"

namespace sidestep::daemon {

class Pipeline {
 public:
  explicit Pipeline(JobContext& context) : context_(context) {}

  // The first task of the step may be picked from now on; a stage with nothing to add is complete at once.
  void begin_step(std::int64_t now_us);
  // Forgets the step: it begins anew, or another does.
  void abandon();
  // A microbatch from another hop. What does not fit the plan is logged and dropped, repeats are dropped.
  void on_hop(std::int64_t now_us, const net::NodeKey& peer, const net::MicrobatchHop& hop);

  struct Pick {
    Task task;
    TaskDesk::Done done;
  };
  // The next task, if any may run now.
  std::optional<Pick> pick(std::int64_t now_us);

  // Everything that this step adds to the stage's accumulator here has been added.
  bool complete(std::uint32_t stage) const;
  const std::vector<net::Added>& added(std::uint32_t stage) const;

  // For people: what this node has still to do in the step.
  std::string describe() const;
  void check_invariants() const;

 private:
  enum class Kind { forward, head, backward };

  struct Work {
    Kind kind = Kind::forward;
    bool injected = false;  // by this origin: waits for a slot as long as it takes
    std::int64_t arrived_us = 0;
    std::int64_t begun_us = 0;
    net::MicrobatchHop hop;
  };

  using Place = std::pair<std::uint32_t, std::uint32_t>;  // stage, microbatch

  // Accumulators of one stage that are filled in one order; the head of an untied model has its own.
  using Lane = std::pair<std::uint32_t, bool>;

  void inject(std::int64_t now_us, const scheduler::PlannedRoute& route, bool evaluation);
  void plan_lanes();
  Lane lane_of(std::uint32_t stage, bool head) const;
  std::string objection(const net::NodeKey& peer, const net::MicrobatchHop& hop) const;
  const scheduler::PlannedRoute* planned(const net::MicrobatchHop& hop) const;
  bool forward_ran(const net::MicrobatchHop& hop) const;
  bool in_order(const Work& work) const;
  // The number of its data, as tasks name it.
  std::uint32_t data_of(const net::MicrobatchHop& hop) const;
  bool may_run(const Work& work, std::int64_t now_us) const;
  Pick start(Work work);
  void on_done(std::int64_t now_us, const Work& work, const Completion& completion);
  void note_time(std::int64_t now_us, const Work& work);
  void close(std::int64_t now_us, const net::MicrobatchHop& hop, double loss);
  void note_added(const net::MicrobatchHop& hop, bool head);
  // Room on this node: a forward that saves takes a slot until its backward is done.
  std::uint32_t slots() const;
  std::int64_t slot_deadline_us() const;

  JobContext& context_;
  std::vector<Work> queue_;  // in order of arrival
  std::string running_;      // for people: the task under way
  std::set<std::tuple<bool, std::uint32_t, std::uint32_t, net::Direction, std::uint32_t>> seen_;
  std::set<Place> slots_taken_;
  std::set<Place> recomputing_;             // ran forward without saving
  std::map<std::uint32_t, double> losses_;  // of microbatches that began here
  std::map<std::uint32_t, std::vector<net::Added>> added_;
  std::map<std::uint32_t, std::size_t> to_add_;   // additions planned, by stage
  std::map<Lane, std::deque<net::Added>> lanes_;  // deterministic jobs: what is still to be added, in order
};

}  // namespace sidestep::daemon
