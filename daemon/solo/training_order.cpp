#include "daemon/solo/training_order.h"

#include <algorithm>
#include <set>
#include <tuple>

namespace sidestep::daemon {

using net::Added;
using net::Hop;
using net::NodeKey;
using scheduler::RecordReplica;
using scheduler::RecordRoute;
using scheduler::RecordStage;
using scheduler::RecordStep;

namespace {

using StagesOf = std::map<NodeKey, std::vector<std::uint32_t>>;

// What one replica of a stage adds, in order, and how far the walk has come.
struct Queue {
  Hop place;
  const std::vector<Added>* added = nullptr;
  std::size_t next = 0;
};

// One attempt of a microbatch on its way back: the head, then its hops in reverse.
struct Chain {
  std::size_t route = 0;
  std::size_t earlier = SIZE_MAX;  // chain of the attempt before: one at a time holds activations
  bool closed_attempt = true;
  std::size_t next = 0;   // 0: the head; i: the i-th hop from the end
  std::size_t links = 0;  // that this attempt reached
  bool done = false;
};

class Walk {
 public:
  Walk(const RecordStep& step, const StagesOf& stages_of) : step_(step), stages_of_(stages_of) {}

  Result<std::vector<Move>> run() {
    for (auto set_up : {&Walk::take_routes, &Walk::take_added}) {
      if (Status status = (this->*set_up)(); !status.ok()) return status;
    }
    for (Chain& chain : chains_) {
      if (Status status = measure(chain); !status.ok()) return status;
    }
    for (bool moved = true; moved;) {
      moved = false;
      for (Chain& chain : chains_) {
        while (advance(chain)) moved = true;
      }
    }
    if (Status status = check_all_added(); !status.ok()) return status;
    return std::move(moves_);
  }

 private:
  const RecordRoute& route_of(const Chain& chain) const { return step_.routes[chain.route]; }

  Hop place(const Chain& chain, std::size_t link) const {
    const std::vector<Hop>& hops = route_of(chain).hops;
    return link == 0 ? hops.front() : hops[hops.size() - link];
  }

  Added entry(const Chain& chain, std::size_t link) const {
    return {route_of(chain).microbatch, route_of(chain).attempt, link == 0};
  }

  Status wrong(const Hop& hop, std::uint32_t microbatch, const std::string& what) const {
    return Status::invalid(place_name(step_.step, hop, microbatch) + ": " + what);
  }

  Status take_routes() {
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::size_t> by_attempt;
    for (std::size_t i = 0; i < step_.routes.size(); ++i) {
      const RecordRoute& route = step_.routes[i];
      const std::string name = "step " + std::to_string(step_.step) + ", microbatch " +
                               std::to_string(route.microbatch) + ", attempt " +
                               std::to_string(route.attempt);
      if (route.hops.empty() || route.hops.front().stage != 0) {
        return Status::invalid(name + ": the route does not begin at stage 0");
      }
      std::set<std::uint32_t> stages;
      for (const Hop& hop : route.hops) {
        const auto held = stages_of_.find(hop.node);
        if (held == stages_of_.end() || std::ranges::find(held->second, hop.stage) == held->second.end()) {
          return wrong(hop, route.microbatch, "the node does not hold this stage");
        }
        if (!stages.insert(hop.stage).second) {
          return wrong(hop, route.microbatch, "the route visits the stage twice");
        }
      }
      if (!by_attempt.emplace(std::pair(route.microbatch, route.attempt), i).second) {
        return Status::invalid(name + ": listed twice");
      }
    }
    for (const auto& [name, route] : by_attempt) {
      const bool again = !chains_.empty() && route_of(chains_.back()).microbatch == name.first;
      const std::size_t earlier = again ? chains_.size() - 1 : SIZE_MAX;
      if (again) chains_.back().closed_attempt = false;
      chains_.push_back({route, earlier});
      chain_of_[name] = chains_.size() - 1;
    }
    return {};
  }

  Status take_added() {
    for (const RecordStage& stage : step_.stages) {
      for (const RecordReplica& replica : stage.replicas) {
        const Hop here{stage.stage, replica.node};
        queues_.push_back({here, &replica.added});
        for (const Added& added : replica.added) {
          const auto chain = chain_of_.find({added.microbatch, added.attempt});
          if (chain == chain_of_.end()) {
            return wrong(here, added.microbatch,
                         "attempt " + std::to_string(added.attempt) + " was added, but has no route");
          }
          const std::vector<Hop>& hops = route_of(chains_[chain->second]).hops;
          const bool fits = added.head ? here == hops.front() : std::ranges::find(hops, here) != hops.end();
          if (!fits) return wrong(here, added.microbatch, "was added, but its route does not come here");
          if (!adder_.emplace(std::tuple(stage.stage, added.microbatch, added.head), queues_.size() - 1)
                   .second) {
            return wrong(here, added.microbatch, added.head ? "the head was added twice" : "was added twice");
          }
          recorded_.insert({queues_.size() - 1, added.microbatch, added.attempt, added.head});
        }
      }
    }
    return {};
  }

  // The queue in which this link's addition stands; nothing if it only passed its gradient through.
  Queue* queue_of(const Chain& chain, std::size_t link) {
    const Added added = entry(chain, link);
    const auto adder = adder_.find({place(chain, link).stage, added.microbatch, added.head});
    if (adder == adder_.end()) return nullptr;
    if (!recorded_.contains({adder->second, added.microbatch, added.attempt, added.head})) return nullptr;
    return &queues_[adder->second];
  }

  // How far an attempt came: the last one to its end, others to their last addition.
  Status measure(Chain& chain) {
    const std::size_t all = route_of(chain).hops.size() + 1;
    for (std::size_t link = 0; link < all; ++link) {
      if (queue_of(chain, link) != nullptr) chain.links = link + 1;
      const Added added = entry(chain, link);
      const Hop hop = place(chain, link);
      if (chain.closed_attempt && !adder_.contains({hop.stage, added.microbatch, added.head})) {
        return wrong(hop, added.microbatch, added.head ? "the head was never added" : "was never added");
      }
    }
    if (chain.closed_attempt) chain.links = all;
    chain.done = chain.links == 0;
    return {};
  }

  bool advance(Chain& chain) {
    if (chain.done) return false;
    if (chain.next == 0 && chain.earlier != SIZE_MAX && !chains_[chain.earlier].done) return false;
    Queue* queue = queue_of(chain, chain.next);
    if (queue != nullptr) {
      if ((*queue->added)[queue->next] != entry(chain, chain.next)) return false;
      ++queue->next;
    }
    const std::size_t hops = route_of(chain).hops.size();
    const bool head = chain.next == 0;
    moves_.push_back({head ? Move::Kind::start : Move::Kind::backward, chain.route,
                      head ? 0 : hops - chain.next, queue != nullptr});
    if (++chain.next < chain.links) return true;
    chain.done = true;
    for (std::size_t link = chain.links; link <= hops; ++link) {
      moves_.push_back({Move::Kind::forget, chain.route, hops - link, false});
    }
    return true;
  }

  Status check_all_added() const {
    for (const Queue& queue : queues_) {
      if (queue.next < queue.added->size()) {
        return wrong(queue.place, (*queue.added)[queue.next].microbatch,
                     "cannot be added in the order recorded: it contradicts the orders of the other nodes");
      }
    }
    return {};
  }

  const RecordStep& step_;
  const StagesOf& stages_of_;
  std::vector<Chain> chains_;  // by microbatch, then attempt
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::size_t> chain_of_;
  std::vector<Queue> queues_;
  std::map<std::tuple<std::uint32_t, std::uint32_t, bool>, std::size_t> adder_;  // stage, microbatch, head
  std::set<std::tuple<std::size_t, std::uint32_t, std::uint32_t, bool>> recorded_;
  std::vector<Move> moves_;
};

}  // namespace

Result<std::vector<Move>> order_moves(const RecordStep& step, const StagesOf& stages_of) {
  return Walk(step, stages_of).run();
}

std::string place_name(std::uint64_t step, const Hop& hop, std::uint32_t microbatch) {
  return "step " + std::to_string(step) + ", stage " + std::to_string(hop.stage) + ", node " +
         hop.node.short_name() + ", microbatch " + std::to_string(microbatch);
}

}  // namespace sidestep::daemon
