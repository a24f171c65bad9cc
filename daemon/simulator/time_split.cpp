#include "daemon/simulator/time_split.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace sidestep::sim {

void TimeSplit::on_plan(std::int64_t now_us, const std::set<std::size_t>& holders) {
  settle_all(now_us);
  std::vector<std::size_t> gone;
  for (const auto& [number, node] : nodes_)
    if (!holders.contains(number)) gone.push_back(number);
  for (const std::size_t number : gone) leave(now_us, number);
  for (const std::size_t number : holders) nodes_.try_emplace(number, Node{.since_us = now_us});
}

void TimeSplit::on_begin(std::int64_t now_us, std::size_t number, Work work) {
  const auto it = nodes_.find(number);
  if (it == nodes_.end()) return;
  Node& node = it->second;
  if (work == Work::training && replans_ && undeclared_.empty()) {
    settle_all(now_us);
    replans_ = false;
  }
  settle(now_us, node);
  if (work == Work::training) close_wait(node);
  if (work == Work::averaging && !node.averages) {
    // The wait after the last backward was one for the average.
    add(Share::average, std::exchange(node.waited_us, 0) + std::exchange(node.idle_us, 0));
    node.averages = true;
  }
  node.busy = true;
  node.work = work;
}

void TimeSplit::on_end(std::int64_t now_us, std::size_t number) {
  const auto it = nodes_.find(number);
  if (it == nodes_.end()) return;
  settle(now_us, it->second);
  it->second.busy = false;
}

void TimeSplit::on_sent(std::int64_t now_us, std::size_t number, std::int64_t arrival_us) {
  const auto it = nodes_.find(number);
  if (it == nodes_.end()) return;
  settle(now_us, it->second);
  it->second.arrival_us = std::max(it->second.arrival_us, arrival_us);
}

void TimeSplit::on_update(std::int64_t now_us, std::size_t number) {
  const auto it = nodes_.find(number);
  if (it == nodes_.end()) return;
  settle(now_us, it->second);
  close_step(it->second, Share::useful);
}

void TimeSplit::on_abandon(std::int64_t now_us, std::size_t number) {
  const auto it = nodes_.find(number);
  if (it == nodes_.end()) return;
  settle(now_us, it->second);
  close_step(it->second, Share::redo);
}

void TimeSplit::on_death(std::int64_t now_us, std::size_t number) {
  if (!nodes_.contains(number)) return;
  settle_all(now_us);
  leave(now_us, number);
  undeclared_.insert(number);
}

void TimeSplit::on_silent(std::int64_t now_us, std::size_t number) {
  if (!nodes_.contains(number)) return;
  settle_all(now_us);
  undeclared_.insert(number);
}

void TimeSplit::on_heard(std::int64_t now_us, std::size_t number) {
  if (!undeclared_.contains(number)) return;
  settle_all(now_us);
  undeclared_.erase(number);
}

void TimeSplit::on_declared(std::int64_t now_us, std::size_t number) {
  if (!undeclared_.contains(number) && !nodes_.contains(number)) return;
  settle_all(now_us);
  undeclared_.erase(number);
  replans_ = true;
}

void TimeSplit::finish(std::int64_t now_us, Share rest) {
  settle_all(now_us);
  for (auto& [number, node] : nodes_) close_step(node, rest);
  nodes_.clear();
}

void TimeSplit::settle(std::int64_t now_us, Node& node) {
  const std::int64_t us = now_us - node.since_us;
  if (!node.busy)
    settle_idle(now_us, node);
  else if (node.work == Work::training)
    node.computed_us += us;
  else
    add(node.work == Work::averaging ? Share::average : Share::bubble, us);
  node.since_us = now_us;
}

void TimeSplit::settle_idle(std::int64_t now_us, Node& node) {
  const std::int64_t us = now_us - node.since_us;
  if (!undeclared_.empty()) return add(Share::detect, us);
  if (replans_) return add(Share::replan, us);
  if (node.averages) return add(Share::average, us);
  const std::int64_t waited_us = std::clamp(node.arrival_us - node.since_us, std::int64_t{0}, us);
  node.waited_us += waited_us;
  node.idle_us += us - waited_us;
}

void TimeSplit::settle_all(std::int64_t now_us) {
  for (auto& [number, node] : nodes_) settle(now_us, node);
}

void TimeSplit::close_wait(Node& node) {
  add(Share::transfer, std::exchange(node.waited_us, 0));
  add(Share::bubble, std::exchange(node.idle_us, 0));
}

void TimeSplit::close_step(Node& node, Share computed) {
  close_wait(node);
  add(computed, std::exchange(node.computed_us, 0));
  node.averages = false;
}

void TimeSplit::leave(std::int64_t now_us, std::size_t number) {
  Node& node = nodes_.at(number);
  settle(now_us, node);
  close_step(node, Share::redo);
  nodes_.erase(number);
}

}  // namespace sidestep::sim
