// Where the time of a simulated swarm went, by events: a partition of the time of all nodes that live and
// hold a stage, every microsecond of each in exactly one share. The first rule that holds decides:
//
//   useful    a forward, head or backward of a step whose update the node then made
//   redo      one of a step that the node began anew, or did not live to update
//   average   a task of averaging; idle from the node's last backward of a step to its update, where the node
//             averages in that step and nobody is dead or silent
//   detect    idle from a death, or from when a node went silent, to its declaration by the scheduler
//   replan    idle from there to the first task of training under the plan that follows
//   transfer  idle, and a message is on its way to the node
//   bubble    the rest: idle for want of work, or another task
//
// Pure. Events come in order of time. Nodes are numbers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>

namespace sidestep::sim {

enum class Share : std::uint8_t { useful, redo, average, detect, replan, transfer, bubble, count };
using Shares = std::array<std::int64_t, static_cast<std::size_t>(Share::count)>;  // microseconds

enum class Work : std::uint8_t { training, averaging, other };

class TimeSplit {
 public:
  // From now on these hold stages; nobody does before the first plan.
  void on_plan(std::int64_t now_us, const std::set<std::size_t>& holders);
  void on_begin(std::int64_t now_us, std::size_t node, Work work);
  void on_end(std::int64_t now_us, std::size_t node);
  // A message to the node was sent, and arrives then.
  void on_sent(std::int64_t now_us, std::size_t node, std::int64_t arrival_us);
  // The node makes the update of its step, or begins it anew.
  void on_update(std::int64_t now_us, std::size_t node);
  void on_abandon(std::int64_t now_us, std::size_t node);
  void on_death(std::int64_t now_us, std::size_t node);
  // A node that holds a stage does nothing from now on, as if it were dead; until it goes on.
  void on_silent(std::int64_t now_us, std::size_t node);
  void on_heard(std::int64_t now_us, std::size_t node);
  // The scheduler takes the node to be dead, whether it is or not.
  void on_declared(std::int64_t now_us, std::size_t node);
  // What no update has followed so far counts as `rest`.
  void finish(std::int64_t now_us, Share rest);

  const Shares& shares() const { return shares_; }

 private:
  struct Node {
    std::int64_t since_us = 0;  // all before is counted
    std::int64_t arrival_us = 0;
    bool busy = false, averages = false;
    Work work = Work::other;
    std::int64_t computed_us = 0;  // of the step, useful or not as it will turn out
    std::int64_t waited_us = 0,
                 idle_us = 0;  // since the last task of training: transfer and bubble, or average
  };

  void add(Share share, std::int64_t us) { shares_[static_cast<std::size_t>(share)] += us; }
  void settle(std::int64_t now_us, Node& node);
  void settle_idle(std::int64_t now_us, Node& node);
  void settle_all(std::int64_t now_us);
  void close_wait(Node& node);
  void close_step(Node& node, Share computed);
  void leave(std::int64_t now_us, std::size_t node);

  std::map<std::size_t, Node> nodes_;
  std::set<std::size_t> undeclared_;  // dead or silent holders
  bool replans_ = false;
  Shares shares_{};
};

}  // namespace sidestep::sim
