#include "scheduler/placement.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "net/assert.h"
#include "scheduler/memory.h"

namespace sidestep::scheduler {
namespace {

std::string name_of(const PlacementNode& node) { return node.nickname + " (" + node.key.short_name() + ")"; }

class Placement {
 public:
  explicit Placement(const PlacementRequest& request)
      : job_(request.job),
        stages_(static_cast<std::size_t>(job_.pipeline.stages)),
        microbatches_(static_cast<std::size_t>(job_.pipeline.microbatches_per_step)) {
    for (const PlacementNode& node : request.nodes) {
      if (node.problem.empty())
        nodes_.push_back(&node);
      else
        problems_.push_back(name_of(node) + ": " + node.problem);
    }
    for (std::size_t s = 0; s < stages_; ++s) {
      needs_.push_back(memory_need(job_, static_cast<std::int64_t>(s), 1));
      replica_needs_.push_back(memory_need(job_, static_cast<std::int64_t>(s), 2));
    }
    holders_.resize(stages_);
  }

  // Whether there is any way to hold all stages, as far as memory and data go. Every refusal names all nodes
  // with what they have, so that the sums can be checked by eye.
  Status check_memory() const {
    if (nodes_.size() < stages_ || cover(nodes_, true, stages_ - 1)) return {};
    std::string text =
        "the stages do not fit: stage 0, on a node with " + job_.data.name() + ", needs " + needs_[0].text();
    if (stages_ > 1)
      text += std::string(stages_ == 2 ? "; stage 1 needs "
                                       : "; each of stages 1 to " + std::to_string(stages_ - 1) + " needs ") +
              needs_[1].text();
    for (const PlacementNode* node : nodes_)
      text += (node == nodes_.front() ? "; " : ", ") + name_of(*node) +
              (node->memory_bytes == PlacementNode::unknown_bytes
                   ? " has not said how much it has"
                   : (node->has_data ? ", with the data, has " : " has ") + mebibytes(node->memory_bytes)) +
              (node->daemon_bytes > 0 ? ", of which its daemon takes " + mebibytes(node->daemon_bytes) : "");
    return Status::refused(text + problems_text());
  }

  Status assign() {
    if (Status status = check_counts(); !status.ok()) return status;
    std::vector<const PlacementNode*> free = nodes_;
    // Fastest first, so that the slow ones fill up what is left.
    std::stable_sort(free.begin(), free.end(), [](const PlacementNode* a, const PlacementNode* b) {
      return a->layer_us + a->head_us < b->layer_us + b->head_us;
    });
    while (!free.empty()) {
      const PlacementNode* node = free.front();
      free.erase(free.begin());
      std::optional<std::size_t> best;
      for (std::size_t s = 0; s < stages_; ++s) {
        if (!may_hold(*node, s) || holders_[s].size() >= microbatches_ || !others_cover(free, s)) continue;
        if (!best || needs_more(s, *best)) best = s;
      }
      if (best) holders_[*best].push_back(node);
    }
    for (auto& holders : holders_) {
      SIDESTEP_ASSERT(!holders.empty());
      std::sort(holders.begin(), holders.end(),
                [](const PlacementNode* a, const PlacementNode* b) { return a->key < b->key; });
    }
    return {};
  }

  Plan plan(std::uint64_t epoch) const {
    Plan plan;
    plan.epoch = epoch;
    for (std::size_t s = 0; s < stages_; ++s) {
      for (const PlacementNode* node : holders_[s]) {
        plan.stages_of[node->key] = {static_cast<std::uint32_t>(s)};
        plan.slots_of[node->key] = static_cast<std::uint32_t>(job_.pipeline.slots);
      }
    }
    plan.routes = routes(microbatches_);
    if (job_.validation.every > 0)
      plan.evaluations = routes(static_cast<std::size_t>(job_.validation.microbatches));
    return plan;
  }

 private:
  // Time of one microbatch at a node, in microseconds.
  double cost_us(const PlacementNode& node, std::size_t stage) const {
    const std::int64_t layers = job_.layer_count(static_cast<std::int64_t>(stage));
    const std::int64_t cost = layers * node.layer_us + (stage == 0 ? node.head_us : 0);
    return static_cast<double>(std::max<std::int64_t>(cost, 1));
  }

  // Microbatches that the stage's holders finish in a microsecond.
  double rate(std::size_t stage) const {
    double sum = 0;
    for (const PlacementNode* node : holders_[stage]) sum += 1 / cost_us(*node, stage);
    return sum;
  }

  bool needs_more(std::size_t a, std::size_t b) const { return rate(a) < rate(b); }

  static bool holds(const PlacementNode& node, const MemoryNeed& need) {
    return node.memory_bytes >= node.daemon_bytes + need.total();
  }

  bool fits(const PlacementNode& node, std::size_t stage) const {
    return holds(node, needs_[stage]) && (stage > 0 || node.has_data);
  }

  // Averaging with a replica takes memory on both sides.
  bool may_hold(const PlacementNode& node, std::size_t stage) const {
    if (holders_[stage].empty() || !fits(node, stage)) return fits(node, stage);
    const auto has_room = [&](const PlacementNode* one) { return holds(*one, replica_needs_[stage]); };
    return has_room(&node) && std::all_of(holders_[stage].begin(), holders_[stage].end(), has_room);
  }

  // Whether `free` can still fill every stage that is empty once `taken` is filled. Stages above 0 are alike,
  // so counting is enough.
  bool others_cover(const std::vector<const PlacementNode*>& free, std::size_t taken) const {
    const bool needs_origin = taken != 0 && holders_[0].empty();
    std::size_t needed = 0;
    for (std::size_t s = 1; s < stages_; ++s)
      if (s != taken && holders_[s].empty()) ++needed;
    return cover(free, needs_origin, needed);
  }

  bool cover(const std::vector<const PlacementNode*>& free, bool needs_origin, std::size_t needed) const {
    std::size_t only_origin = 0, only_other = 0, both = 0;
    for (const PlacementNode* node : free) {
      const bool origin = fits(*node, 0);
      const bool other = stages_ > 1 && fits(*node, 1);
      if (origin && other)
        ++both;
      else if (origin)
        ++only_origin;
      else if (other)
        ++only_other;
    }
    if (needs_origin && only_origin == 0) {
      if (both == 0) return false;
      --both;
    }
    return only_other + both >= needed;
  }

  std::string problems_text() const {
    std::string text;
    for (const std::string& problem : problems_) text += "; " + problem;
    return text;
  }

  Status check_counts() const {
    if (nodes_.size() < stages_) {
      const std::size_t alive = nodes_.size() + problems_.size();
      std::string text = std::to_string(stages_) + (stages_ == 1 ? " stage needs " : " stages need ") +
                         std::to_string(stages_) + (stages_ == 1 ? " node, " : " nodes, ") +
                         std::to_string(alive) + (alive == 1 ? " is alive" : " are alive");
      if (!problems_.empty())
        text += ", " + std::to_string(nodes_.size()) + " can take part" + problems_text();
      return Status::refused(text);
    }
    if (std::none_of(nodes_.begin(), nodes_.end(),
                     [](const PlacementNode* node) { return node->has_data; })) {
      std::string text = "stage 0 needs a node with " + job_.data.name() + ", none has it";
      for (const PlacementNode* node : nodes_)
        text += (node == nodes_.front() ? ": " : "; ") + name_of(*node) + ": " + node->data_problem;
      return Status::refused(text + problems_text());
    }
    return check_memory();
  }

  // How many of `count` microbatches each holder gets: in proportion to its speed by largest remainders, at
  // least one each where there are enough.
  std::vector<std::size_t> shares(std::size_t stage, std::size_t count) const {
    const auto& holders = holders_[stage];
    std::vector<std::size_t> shares(holders.size(), count >= holders.size() ? 1 : 0);
    const double whole = rate(stage);
    for (std::size_t given = std::accumulate(shares.begin(), shares.end(), std::size_t{0}); given < count;
         ++given) {
      std::size_t best = 0;
      double best_lack = 0;
      for (std::size_t i = 0; i < holders.size(); ++i) {
        const double due = static_cast<double>(count) / (cost_us(*holders[i], stage) * whole);
        const double lack = due - static_cast<double>(shares[i]);
        if (i == 0 || lack > best_lack) {
          best = i;
          best_lack = lack;
        }
      }
      ++shares[best];
    }
    return shares;
  }

  // Spread evenly over the step: a holder's microbatches are as far apart as its share says.
  std::vector<std::size_t> deal(std::size_t stage, std::size_t count) const {
    const std::vector<std::size_t> weights = shares(stage, count);
    std::vector<std::int64_t> credit(weights.size(), 0);
    std::vector<std::size_t> order;
    for (std::size_t m = 0; m < count; ++m) {
      for (std::size_t i = 0; i < weights.size(); ++i) credit[i] += static_cast<std::int64_t>(weights[i]);
      const auto most = std::max_element(credit.begin(), credit.end());
      *most -= static_cast<std::int64_t>(count);
      order.push_back(static_cast<std::size_t>(most - credit.begin()));
    }
    return order;
  }

  std::vector<PlannedRoute> routes(std::size_t count) const {
    std::vector<PlannedRoute> routes(count);
    for (std::size_t s = 0; s < stages_; ++s) {
      const std::vector<std::size_t> order = deal(s, count);
      for (std::size_t m = 0; m < count; ++m) {
        routes[m].microbatch = static_cast<std::uint32_t>(m);
        routes[m].hops.push_back({static_cast<std::uint32_t>(s), holders_[s][order[m]]->key});
      }
    }
    return routes;
  }

  const JobSpec& job_;
  std::size_t stages_;
  std::size_t microbatches_;
  std::vector<const PlacementNode*> nodes_;  // that can take part, in key order
  std::vector<std::string> problems_;        // of those that cannot
  std::vector<MemoryNeed> needs_;            // by stage, without other replicas
  std::vector<MemoryNeed> replica_needs_;    // by stage, with another
  std::vector<std::vector<const PlacementNode*>> holders_;
};

}  // namespace

Status check_memory(const JobSpec& job, const std::vector<PlacementNode>& nodes) {
  const PlacementRequest request{0, job, nodes};
  return Placement(request).check_memory();
}

Result<Plan> place(const PlacementRequest& request) {
  Placement placement(request);
  if (Status status = placement.assign(); !status.ok()) return status;
  return placement.plan(request.epoch);
}

}  // namespace sidestep::scheduler
