// Mirrors of every few commits: who keeps that of which stage, and which are there (recovery.every).
#include <algorithm>

#include "scheduler/memory.h"
#include "scheduler/scheduler_state.h"

namespace sidestep::scheduler {

void SchedulerCore::State::assign_mirrors(Plan& plan) {
  plan.mirrors.clear();
  plan.mirrored.clear();
  if (!active->spec.recovery.keeps_mirrors()) return;
  std::map<net::NodeKey, std::uint64_t> used;
  for (const auto& [key, stages] : plan.stages_of) used[key] = planned_bytes(plan, key);
  const auto add = [&](const net::NodeKey& key, std::uint32_t stage) {
    plan.mirrors[key].push_back(stage);
    used[key] += mirror_bytes(active->spec, stage);
  };
  std::vector<std::uint32_t> others, none;
  for (std::uint32_t stage = 1; stage < plan.stage_count(); ++stage) {
    const std::optional<net::NodeKey> keeper = active->plan.keeper_of(stage);
    if (keeper && plan.stages_of.contains(*keeper) && !plan.holds(*keeper, stage))
      add(*keeper, stage);
    else if (!plan.is_out(stage))
      others.push_back(stage);
  }
  for (const std::uint32_t stage : others) {
    const auto rank = [&](const net::NodeKey& key) {
      return std::pair(plan.mirrors.contains(key) ? plan.mirrors.at(key).size() : 0, used.at(key));
    };
    const net::NodeKey* best = nullptr;
    for (const auto& [key, stages] : plan.stages_of) {
      const bool fits = used.at(key) + mirror_bytes(active->spec, stage) <= memory_of(key);
      if (has_stage(stages, stage) || nodes.at(key).leaving || !fits) continue;
      if (best == nullptr || rank(key) < rank(*best)) best = &key;
    }
    if (best != nullptr)
      add(*best, stage);
    else
      none.push_back(stage);
  }
  for (auto& [key, stages] : plan.mirrors) std::ranges::sort(stages);
  if (!none.empty() && active->unmirrored != none)
    log(net::LogLevel::warning, active->id,
        stage_list(none) + (none.size() == 1 ? " has no mirror" : " have no mirrors") +
            ": no other node has the memory; " + (none.size() == 1 ? "it" : "they") +
            " would be rebuilt out of neighbours");
  active->unmirrored = std::move(none);
  const JobRow& job = row(active->id);
  for (const std::uint32_t stage : plan.stages_out) {
    // Whatever a stage began to be rebuilt from stays that.
    const bool began_otherwise = active->plan.is_out(stage) && !has_stage(active->plan.mirrored, stage);
    const auto kept = job.mirrors.find(stage);
    if (!began_otherwise && kept != job.mirrors.end() && plan.keeper_of(stage) == kept->second.node)
      plan.mirrored.push_back(stage);
  }
}

void SchedulerCore::State::on(const net::NodeKey& peer, const net::Envelope& envelope,
                              const net::MirrorKept& kept) {
  const Node* node = sender(peer, envelope);
  if (node == nullptr) return;
  acknowledge(peer, envelope);
  if (!active || active->id != kept.scope.job || is_stale(row(active->id), kept.scope)) return;
  const bool keeps = active->plan.keeps(peer, kept.stage) ||
                     (active->change && active->change->plan.keeps(peer, kept.stage));
  if (!keeps || !takes_part(node->member)) return;
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
