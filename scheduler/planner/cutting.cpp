#include "scheduler/planner/cutting.h"

#include <algorithm>
#include <cstdint>

#include "scheduler/planner/construct.h"

namespace sidestep::scheduler {
namespace {

using Nodes = std::vector<std::size_t>;

class Cutting {
 public:
  Cutting(const Instance& instance, std::size_t size) : instance_(instance), size_(size) {
    for (std::size_t n = 0; n < instance.node_count(); ++n)
      if (!instance.nodes[n].draining) open_.push_back(n);
    far_.assign(instance.node_count(), 0);
    for (const std::size_t a : open_)
      for (const std::size_t b : open_) far_[a] += both_ways_us(instance, a, b);
  }

  std::vector<Nodes> cut() {
    std::vector<Nodes> pods;
    while (!open_.empty()) pods.push_back(grow());
    if (pods.size() > 1 && 4 * pods.back().size() < 3 * size_) {
      const Nodes last = std::move(pods.back());
      pods.pop_back();
      for (const std::size_t node : last)
        std::min_element(pods.begin(), pods.end(), [&](const Nodes& a, const Nodes& b) {
          return width(a, node) < width(b, node);
        })->push_back(node);
    }
    for (Nodes& pod : pods) std::sort(pod.begin(), pod.end());
    return pods;
  }

 private:
  std::int64_t width(const Nodes& pod, std::size_t node) const {
    std::int64_t longest = 0;
    for (const std::size_t one : pod) longest = std::max(longest, both_ways_us(instance_, one, node));
    return longest;
  }

  void take(std::size_t node) {
    std::erase(open_, node);
    for (const std::size_t other : open_) far_[other] -= both_ways_us(instance_, other, node);
  }

  Nodes grow() {
    const std::size_t first = *std::max_element(
        open_.begin(), open_.end(), [&](std::size_t a, std::size_t b) { return far_[a] < far_[b]; });
    Nodes pod{first};
    take(first);
    std::vector<std::int64_t> reach(instance_.node_count(), 0);
    for (const std::size_t node : open_) reach[node] = both_ways_us(instance_, first, node);
    std::int64_t widest = 0;
    while (!open_.empty()) {
      const std::size_t next = *std::min_element(
          open_.begin(), open_.end(), [&](std::size_t a, std::size_t b) { return reach[a] < reach[b]; });
      if (pod.size() >= size_ && (reach[next] > widest || 2 * pod.size() >= 3 * size_)) break;
      widest = std::max(widest, reach[next]);
      pod.push_back(next);
      take(next);
      for (const std::size_t node : open_)
        reach[node] = std::max(reach[node], both_ways_us(instance_, next, node));
    }
    return pod;
  }

  const Instance& instance_;
  const std::size_t size_;
  Nodes open_;
  std::vector<std::int64_t> far_;  // sum of ways to all that are open
};

}  // namespace

std::vector<std::vector<std::size_t>> cut_nodes(const Instance& instance, std::size_t size) {
  return Cutting(instance, size).cut();
}

}  // namespace sidestep::scheduler
