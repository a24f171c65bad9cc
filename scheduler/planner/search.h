// Local search over drafts: simulated annealing with the moves of moves.cpp, each tried on the step engine
// and taken back when it does not serve. One lane of the planner; deterministic for its seed and the limits
// that it is given. Owner: one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "net/random.h"
#include "scheduler/planner/draft.h"
#include "scheduler/planner/instance.h"
#include "scheduler/planner/step_engine.h"

namespace sidestep::scheduler {

// Shares of the cost: from `hot` at progress 0 to `cold` at 1, geometrically.
struct Temperatures {
  double hot = 0.006;
  double cold = 0.0003;
};

struct SearchOptions {
  std::uint64_t seed = 1;
  // As if no two microbatches ever met: routes are as long as their chains, nodes as busy as their work.
  bool ignore_waiting = false;
  bool keep_placement = false;
  // What it costs a node to begin to hold a stage, [node * stages + stage], in us of a step; empty: nothing.
  std::vector<std::int64_t> moving_us;
  // Averaging is what these are, by stage, whatever the placement; empty: it follows the placement.
  std::vector<std::int64_t> after_us;
};

class Search {
 public:
  // Precondition: the draft keeps the rules. The instance must outlive it.
  Search(const Instance& instance, Draft draft, SearchOptions options);

  // Anneals until progress() gives `until` or more; it is asked every few moves and goes from 0 to 1.
  void anneal(Temperatures temperatures, const std::function<double()>& progress, double until = 1);
  // Goes on from another draft.
  void adopt(const Draft& draft);

  const Draft& draft() const { return draft_; }
  const Draft& best() const { return best_; }
  std::int64_t cost_us() const { return cost_us_; }
  std::int64_t best_us() const { return best_us_; }
  std::uint64_t evaluations() const { return evaluations_; }
  // What was spent: tasks simulated, and moves tried.
  std::uint64_t work() const { return engine_.starts() + tries_; }

 private:
  // ---- moves.cpp: each changes the draft as one move and says whether there was something to change that
  // keeps the rules.
  bool propose();
  bool replace_node();
  bool exchange_nodes();
  bool exchange_stages();
  bool change_stage();
  bool reroute();
  bool reorder();
  bool exchange_rows();
  bool exchange_places();
  bool shift_place();
  bool put_hop(std::size_t row, std::size_t from, PathHop hop);
  bool swaps_kept();

  // Kept so that the move can be taken back.
  PathHop* change_row(std::size_t row);
  void change_held(std::size_t node, const std::vector<std::uint32_t>& stages);

  std::uint32_t below(std::size_t count) {
    return static_cast<std::uint32_t>(((random_.next() >> 32) * count) >> 32);
  }
  std::uint32_t holder(std::uint32_t stage) { return usable_[stage][below(usable_[stage].size())]; }
  // Anyone that holds the stage, the nearer the likelier.
  std::uint32_t near_holder(std::uint32_t stage, std::size_t node);
  std::size_t random_hop() { return 1 + below(draft_.length - 1); }

  void load();
  void set_placement();
  std::int64_t moving_us() const;
  // The step time, or `never` where it is over the limit.
  std::int64_t run(std::int64_t limit_us);
  bool try_move(std::int64_t limit_us);
  void take_back();

  const Instance& instance_;
  const SearchOptions options_;
  net::Random random_;
  StepEngine engine_;
  Draft draft_;
  Draft best_;
  std::int64_t cost_us_ = 0;
  std::int64_t best_us_ = 0;
  std::size_t open_rows_ = 0;  // that the draft holds back for ever
  std::uint64_t evaluations_ = 0;
  std::uint64_t tries_ = 0;
  std::vector<std::uint32_t> visits_;               // by stage
  std::vector<std::vector<std::uint32_t>> usable_;  // holders that routes may visit, by stage

  // The move under way.
  struct OldHeld {
    std::size_t node;
    std::vector<std::uint32_t> stages;
  };
  std::vector<std::size_t> changed_rows_;
  std::vector<PathHop> old_hops_;
  std::vector<OldHeld> old_held_;
};

}  // namespace sidestep::scheduler
