// Mirrors of every few commits: who keeps that of which stage, and which are there (recovery.every).
#include <algorithm>

#include "scheduler/memory.h"
#include "scheduler/scheduler_state.h"

namespace sidestep::scheduler {

void SchedulerCore::State::assign_mirrors(Plan& plan) {
  const Plan& before = active->plan;
  plan.mirrors.clear();
  plan.mirrored.clear();
  if (!active->spec.recovery.keeps_mirrors()) return;
  std::map<net::NodeKey, std::uint64_t> used;
  for (const auto& [key, stages] : plan.stages_of) {
    used[key] = held_bytes(plan, key);
    for (const std::vector<std::uint32_t>* lessons : {&plan.lessons(key), &before.lessons(key)})
      for (const std::uint32_t stage : *lessons)
        if (!plan.holds(key, stage) && (lessons == &plan.lessons(key) || !plan.learns(key, stage)))
          used[key] += memory_need(active->spec, stage, plan.replicas(stage).size() + 1).total();
  }
  const auto fits = [&](const net::NodeKey& key, std::uint32_t stage) {
    return plan.stages_of.contains(key) && !plan.holds(key, stage) &&
           used.at(key) + mirror_bytes(active->spec, stage) <= memory_of(key);
  };
  const auto add = [&](const net::NodeKey& key, std::uint32_t stage) {
    std::vector<std::uint32_t>& kept = plan.mirrors[key];
    kept.insert(std::ranges::lower_bound(kept, stage), stage);
    used[key] += mirror_bytes(active->spec, stage);
  };
  // First those that stages are put back out of. Whatever a stage began to be rebuilt from stays that.
  const JobRow& job = row(active->id);
  for (const std::uint32_t stage : plan.stages_out) {
    const auto kept = job.mirrors.find(stage);
    const bool began_otherwise = before.is_out(stage) && !has_stage(before.mirrored, stage);
    if (began_otherwise || kept == job.mirrors.end() || before.keeper_of(stage) != kept->second.node ||
        !plan.stages_of.contains(kept->second.node))
      continue;
    add(kept->second.node, stage);
    plan.mirrored.push_back(stage);
  }
  // Then whoever keeps one goes on with it, and the rest is dealt out.
  std::vector<std::uint32_t> others, none;
  for (std::uint32_t stage = 1; stage < plan.stage_count(); ++stage) {
    if (plan.is_out(stage)) continue;
    const std::optional<net::NodeKey> keeper = before.keeper_of(stage);
    if (keeper && fits(*keeper, stage))
      add(*keeper, stage);
    else
      others.push_back(stage);
  }
  for (const std::uint32_t stage : others) {
    const auto rank = [&](const net::NodeKey& key) {
      return std::pair(plan.mirrors.contains(key) ? plan.mirrors.at(key).size() : 0, used.at(key));
    };
    const net::NodeKey* best = nullptr;
    for (const auto& [key, stages] : plan.stages_of)
      if (fits(key, stage) && !nodes.at(key).leaving && (best == nullptr || rank(key) < rank(*best)))
        best = &key;
    if (best != nullptr)
      add(*best, stage);
    else
      none.push_back(stage);
  }
  if (!none.empty() && active->unmirrored != none)
    log(net::LogLevel::warning, active->id,
        stage_list(none) + (none.size() == 1 ? " has no mirror" : " have no mirrors") +
            ": no other node has the memory; " + (none.size() == 1 ? "it" : "they") +
            " would be rebuilt out of neighbours");
  active->unmirrored = std::move(none);
}

void SchedulerCore::State::on(const net::NodeKey& peer, const net::Envelope& envelope,
                              const net::MirrorKept& kept) {
  const Node* node = sender(peer, envelope);
  if (node == nullptr) return;
  acknowledge(peer, envelope);
  if (!active || active->id != kept.scope.job || is_stale(row(active->id), kept.scope)) return;
  const bool keeps = active->plan.keeps(peer, kept.stage) ||
                     (active->change && active->change->plan.keeps(peer, kept.stage));
  if (!keeps || !kept.problem.empty() || !takes_part(node->member)) return;
  JobRow& job = row(active->id);
  job.mirrors[kept.stage] = {peer, kept.scope.step};
  save(job);
}

void SchedulerCore::State::drop_mirrors(const std::function<bool(std::uint32_t, const KeptMirror&)>& which) {
  JobRow& job = row(active->id);
  if (std::erase_if(job.mirrors, [&](const auto& entry) { return which(entry.first, entry.second); }) > 0)
    save(job);
}

}  // namespace sidestep::scheduler
