// Nodes that come and go while a job runs: a newcomer learns a stage and then takes part; whoever wants to
// leave is let go when others hold what it held. Design: "What keeps a step exact", joining.
#include <algorithm>

#include "scheduler/memory.h"
#include "scheduler/options.h"
#include "scheduler/scheduler_state.h"

namespace sidestep::scheduler {
namespace {

// A node that failed to learn a stage so often is left alone.
constexpr int failures_max = 3;
// A successor waits for what a node that has gone owed it so many times as long as a silent node is waited
// for.
constexpr std::int64_t successor_limits = 4;
void add_stage(std::vector<std::uint32_t>& stages, std::uint32_t stage) {
  const auto place = std::lower_bound(stages.begin(), stages.end(), stage);
  if (place == stages.end() || *place != stage) stages.insert(place, stage);
}

}  // namespace

void SchedulerCore::State::on(const net::NodeKey& peer, const net::Envelope& envelope,
                              const net::Leaving& leaving) {
  if (sender(peer, envelope) == nullptr) return;
  acknowledge(peer, envelope);
  Node& node = nodes.at(peer);
  if (!node.leaving)
    let_leave(node, leaving.reason + "; it ends in " +
                        std::to_string(std::max<std::int64_t>(0, leaving.grace_us) / 1'000'000) +
                        " s whatever has become of its stages");
}

void SchedulerCore::State::let_leave(Node& node, const std::string& why) {
  node.leaving = why;
  log(net::LogLevel::info, active ? active->id : "", label(node.member) + " leaves: " + why);
  if (!active) return;
  // Whoever stood by may be needed now.
  active->spare.clear();
  active->grow_after_us = 0;
  if (row(active->id).state != JobState::preparing) return;
  active->planning.reset();  // a plan that names it would be void
  plan_when_prepared();
}

Result<nlohmann::json> SchedulerCore::State::drain(const nlohmann::json& body) {
  std::string text;
  OptionTable table;
  table.add("node", text, "nickname or start of a key").required();
  Problems problems("drain");
  table.read(body, problems);
  if (!problems.empty()) return problems.status();
  const Result<Node*> found = find_node(text);
  if (!found.ok()) return found.status();
  Node& node = *found.value();
  if (!node.leaving) let_leave(node, "drained by an operator");
  nlohmann::json stages = nlohmann::json::array();
  if (active) {
    stages = active->plan.stages(node.member.key);
    note_handing_over(row(active->id));
    save(row(active->id));
  }
  return nlohmann::json{
      {"node", node.member.key.hex()}, {"nickname", node.member.nickname}, {"stages", std::move(stages)}};
}

void SchedulerCore::State::release_leaving() {
  for (auto& [key, node] : nodes) {
    if (!node.leaving || node.released || !node.greeted || has_part(key)) continue;
    const net::NodeKey& name = key;
    if (std::ranges::any_of(ending, [&](const auto& entry) { return entry.second == name; })) continue;
    node.released = true;
    post(node, net::Released{*node.leaving});
  }
}

bool SchedulerCore::State::works_under(const Node& node, std::uint64_t epoch) const {
  return node.progress && node.progress->job == active->id && node.progress->epoch >= epoch;
}

void SchedulerCore::State::follow_progress(const Node& node) {
  if (!active || !works_under(node, active->plan.epoch) || active->unproven.erase(node.member.key) == 0)
    return;
  JobRow& job = row(active->id);
  note_handing_over(job);
  save(job);
}

void SchedulerCore::State::lose_successor(const Node& node, const std::string& why) {
  ++active->failures[node.member.key];
  post_end(node, active->id, "it goes on without this node", last_epoch());
  job_loses_node(net::Member(node.member), why);
}

void SchedulerCore::State::expect_successors() {
  if (!active->prove_by_us) active->prove_by_us = now_us + successor_limits * options.silent_dead_us;
}

void SchedulerCore::State::lose_stuck_successors() {
  if (!active || active->loss || !active->prove_by_us) return;
  const auto behind = std::ranges::find_if(nodes, [&](const auto& entry) {
    return active->plan.stages_of.contains(entry.first) && !works_under(entry.second, active->plan.epoch);
  });
  if (behind == nodes.end()) active->prove_by_us.reset();
  if (!active->prove_by_us || now_us < *active->prove_by_us) return;
  active->prove_by_us.reset();
  if (active->unproven.empty()) {
    // It has missed the Commit that named the plan: one that takes effect at once gives it that again.
    const std::string text =
        label(behind->second.member) + " has not got the last Commit of a node that has gone";
    active->loss = Active::Loss{text, text, now_us, 0};
    active->growth.reset();
    active->planning.reset();
    return plan_for_rest();
  }
  lose_successor(nodes.at(*active->unproven.begin()), "does not get what it needs from a node that has gone");
}

bool SchedulerCore::State::is_free(const net::NodeKey& key) const {
  const Node& node = nodes.at(key);
  const auto answer = active->answers.find(key);
  const auto failed = active->failures.find(key);
  return node.greeted && !node.leaving && !has_part(key) && !active->spare.contains(key) &&
         (failed == active->failures.end() || failed->second < failures_max) &&
         (!node.progress || node.progress->job.empty()) && answer != active->answers.end() &&
         answer->second && can_take_part(*answer->second) &&
         std::ranges::none_of(ending, [&](const auto& entry) { return entry.second == key; });
}

bool SchedulerCore::State::may_hold(const net::NodeKey& key, std::uint32_t stage) const {
  const auto found = active->answers.find(key);
  const std::optional<net::Prepared> answer = found == active->answers.end() ? std::nullopt : found->second;
  const bool is_holder = active->plan.stages_of.contains(key);
  // Holders are not asked again after a restart of the scheduler.
  if (!answer && !is_holder) return false;
  const bool has_data = answer ? answer->has_data && answer->data_digest == active->spec.data.digest
                               : active->plan.holds(key, 0);
  if (stage == 0 && !has_data) return false;
  MemoryNeed need = memory_need(active->spec, stage, active->plan.replicas(stage).size() + 1);
  need.slots = 1;
  std::uint64_t used = is_holder ? planned_bytes(active->plan, key) : answer->daemon_bytes;
  // A stage that is out goes before mirrors, but for its own while that is read.
  if (is_holder && active->plan.is_out(stage))
    used = held_bytes(active->plan, key) +
           (active->plan.keeps(key, stage) ? mirror_bytes(active->spec, stage) / 2 : 0);
  return used + need.total() <= memory_of(key);
}

std::size_t SchedulerCore::State::hosts_of(std::uint32_t stage, const Active::Growth& growth) const {
  std::size_t count = 0;
  for (const auto* held : {&growth.stages_of, &growth.learners})
    for (const auto& [key, stages] : *held)
      if (!nodes.at(key).leaving && has_stage(stages, stage)) ++count;
  return count;
}

bool SchedulerCore::State::stays_out(std::uint32_t stage) const {
  const auto since = active->out_since.find(stage);
  const auto steps = static_cast<std::uint64_t>(active->spec.recovery.out_steps);
  return since != active->out_since.end() && *find_row(active->id)->commit < since->second + steps;
}

void SchedulerCore::State::release_gone() {
  if (!active->unproven.empty()) return;  // one of them may still need what it sent
  const std::size_t released = std::erase_if(active->gone, [&](const auto& entry) {
    const Node& node = nodes.at(entry.first);
    const bool has_it = node.progress && node.progress->job == active->id;
    if (has_it && (node.progress->epoch < entry.second || !node.progress->level)) return false;
    if (has_it) post_end(node, active->id, "others have taken over", active->plan.epoch);
    if (node.greeted) ask_to_prepare(node);  // one that came back anew was not asked yet
    return true;
  });
  if (released == 0) return;
  JobRow& job = row(active->id);
  note_handing_over(job);
  save(job);
}

void SchedulerCore::State::grow() {
  if (!active || row(active->id).state != JobState::running || active->planning || active->loss ||
      committed_all() || now_us < active->grow_after_us)
    return;
  if (active->change) {
    if (!active->change->posted && all_greeted()) post_offer();
    return;
  }
  release_gone();
  if (!active->unproven.empty() || !all_greeted()) return;  // one change at a time
  Active::Growth growth{active->plan.stages_of, {}};
  const bool promoted = promote_learners(growth);
  const bool without = let_go(growth);
  // Who gives a plan wants that one: newcomers take what is lost, no more.
  const bool is_given = !active->spec.pipeline.plan.is_null();
  const bool taught = teach_newcomers(growth, is_given);
  const bool hosted = find_hosts(growth);
  const bool forgets = std::ranges::any_of(active->plan.learners,
                                           [&](const auto& entry) { return learns_in_vain(entry.first); });
  if (promoted || without) {
    start_planning(request_for(growth.stages_of, options.plan_work));
    active->growth = std::move(growth);
  } else if (taught || hosted || forgets) {
    Plan plan = active->plan;
    plan.epoch = last_epoch() + 1;
    plan.learners = std::move(growth.learners);
    offer(std::move(plan));
  } else if (has_drifted() && now_us >= active->drift_after_us && !active->spec.deterministic && !is_given) {
    // Who holds what stays; only the routes are planned anew, by what is measured now.
    start_planning(request_for(growth.stages_of, options.plan_work));
    active->growth = std::move(growth);
  }
}

bool SchedulerCore::State::learns_in_vain(const net::NodeKey& key) const {
  const auto node = nodes.find(key);
  return node == nodes.end() || node->second.leaving || active->failed_lessons.contains(key) ||
         std::ranges::any_of(active->lost, [&](const auto& one) { return one.first == key; });
}

bool SchedulerCore::State::promote_learners(Active::Growth& growth) const {
  bool promoted = false;
  for (const auto& [key, stages] : active->plan.learners) {
    if (learns_in_vain(key)) continue;
    const auto node = nodes.find(key);
    const std::optional<net::JobProgress>& progress = node->second.progress;
    const bool level =
        progress && progress->job == active->id && progress->epoch == active->plan.epoch && progress->level;
    if (!level) {
      growth.learners[key] = stages;
      continue;
    }
    promoted = true;
    std::vector<std::uint32_t>& held = growth.stages_of[key];
    const Active::Growth holders{growth.stages_of, {}};
    // What others hold too, not only learn, it need not do beside a stage that nobody else will hold.
    if (std::ranges::any_of(stages, [&](std::uint32_t stage) { return hosts_of(stage, holders) == 0; }))
      std::erase_if(held, [&](std::uint32_t stage) {
        return hosts_of(stage, holders) > active->spec.recovery.holders_wanted(stage);
      });
    for (const std::uint32_t stage : stages) add_stage(held, stage);
  }
  return promoted;
}

bool SchedulerCore::State::let_go(Active::Growth& growth) const {
  return std::erase_if(growth.stages_of, [&](const auto& entry) {
           // Learners do not count: they hold nothing yet.
           const auto covered = [&](std::uint32_t stage) {
             return std::ranges::any_of(growth.stages_of, [&](const auto& other) {
               return !nodes.at(other.first).leaving && has_stage(other.second, stage);
             });
           };
           const bool gives_mirror = std::ranges::any_of(active->plan.mirrored, [&](std::uint32_t stage) {
             return active->plan.keeps(entry.first, stage) && !covered(stage);
           });
           return nodes.at(entry.first).leaving && !gives_mirror &&
                  std::ranges::all_of(entry.second, covered);
         }) > 0;
}

bool SchedulerCore::State::teach_newcomers(Active::Growth& growth, bool lost_alone) {
  const std::vector<PlannedRoute>& routes = active->plan.phase(*row(active->id).commit + 1).routes;
  std::vector<double> visits(active->plan.stage_count(), 0);
  for (const PlannedRoute& route : routes)
    for (const net::Hop& hop : route.hops) visits[hop.stage] += 1;
  bool taught = false;
  for (const auto& [key, node] : nodes) {
    if (!is_free(key)) continue;
    // The stage with the fewest hosts, of those the one with the most work for each.
    std::optional<std::uint32_t> chosen;
    for (std::uint32_t stage = 0; stage < visits.size(); ++stage) {
      if (!may_hold(key, stage)) continue;
      // A stage that is out is rebuilt once; others learn it from there.
      const bool is_out = active->plan.is_out(stage);
      if (is_out ? hosts_of(stage, growth) > 0 || stays_out(stage) : lost_alone) continue;
      const std::size_t hosts = hosts_of(stage, growth);
      const std::size_t fewest = chosen ? hosts_of(*chosen, growth) : 0;
      if (!chosen || hosts < fewest || (hosts == fewest && visits[stage] > visits[*chosen])) chosen = stage;
    }
    if (!chosen && lost_alone) continue;
    if (!chosen) {
      active->spare.insert(key);
      log(net::LogLevel::info, active->id, label(node.member) + ": no stage fits it; it stands by");
      continue;
    }
    growth.learners[key] = {*chosen};
    const net::NodeKey& name = key;
    std::erase_if(active->lost, [&](const auto& one) { return one.first == name; });
    taught = true;
  }
  return taught;
}

bool SchedulerCore::State::somebody_may_come() const {
  return std::ranges::any_of(nodes, [&](const auto& entry) {
    const auto& [key, node] = entry;
    const auto failed = active->failures.find(key);
    const auto answer = active->answers.find(key);
    return node.greeted && !node.leaving && !has_part(key) && !active->spare.contains(key) &&
           (failed == active->failures.end() || failed->second < failures_max) &&
           (answer == active->answers.end() || !answer->second || can_take_part(*answer->second));
  });
}

const net::NodeKey* SchedulerCore::State::find_host(std::uint32_t stage, const Active::Growth& growth) const {
  const net::NodeKey* best = nullptr;
  // Rather one whose own stages others hold too, then one that has few and is no origin.
  const auto rank = [&](const net::NodeKey& key) {
    const auto& held = growth.stages_of.at(key);
    const bool needed = std::ranges::any_of(held, [&](std::uint32_t s) { return hosts_of(s, growth) < 2; });
    return std::tuple(needed, held.size(), held.front() == 0);
  };
  for (const auto& [key, held] : growth.stages_of) {
    const auto failed = active->failures.find(key);
    if (nodes.at(key).leaving || has_stage(held, stage) || growth.learners.contains(key) ||
        active->plan.learners.contains(key) || !may_hold(key, stage) ||
        (failed != active->failures.end() && failed->second >= failures_max))
      continue;
    if (best == nullptr || rank(key) < rank(*best)) best = &key;
  }
  return best;
}

bool SchedulerCore::State::find_copies(Active::Growth& growth) {
  bool found = false;
  for (std::uint32_t stage = 0; stage < active->plan.stage_count(); ++stage) {
    const std::size_t wanted = active->spec.recovery.holders_wanted(stage);
    const std::size_t hosts = hosts_of(stage, growth);
    // A stage that is out is rebuilt once; others learn it from there.
    if (active->plan.is_out(stage) || hosts == 0 || hosts >= wanted) continue;
    if (now_us < active->host_after_us && somebody_may_come()) continue;
    if (const net::NodeKey* host = find_host(stage, growth)) {
      growth.learners[*host] = {stage};
      active->lone.erase(stage);
      found = true;
    } else if (growth.learners.empty() && active->plan.learners.empty() &&
               active->lone.insert(stage).second) {
      log(net::LogLevel::warning, active->id,
          "stage " + std::to_string(stage) + " has " + std::to_string(hosts) + " of " +
              std::to_string(wanted) + " holders: no other node has the memory" +
              (stage == 0 ? std::string(" and the data; the job ") + (can_go_back() ? "goes back" : "ends") +
                                " should it be lost"
                          : ""));
    }
  }
  return found;
}

bool SchedulerCore::State::find_hosts(Active::Growth& growth) {
  bool hosted = false;
  const auto nobody = [](std::uint32_t stage) {
    return "no other node has the memory" + std::string(stage == 0 ? " and the data" : "") +
           "; start one more daemon";
  };
  std::erase_if(active->homeless, [&](std::uint32_t stage) { return !active->plan.is_out(stage); });
  for (const std::uint32_t stage : active->plan.stages_out) {
    if (hosts_of(stage, growth) > 0 || stays_out(stage)) continue;
    if (now_us < active->host_after_us && somebody_may_come()) continue;
    if (const net::NodeKey* host = find_host(stage, growth)) {
      growth.learners[*host] = {stage};
      hosted = true;
    } else if (growth.learners.empty() && active->plan.learners.empty() &&
               active->homeless.insert(stage).second) {
      log(net::LogLevel::warning, active->id,
          "nobody can rebuild stage " + std::to_string(stage) + ": " + nobody(stage));
    }
  }
  for (const auto& [leaver, stages] : growth.stages_of) {
    Node& leaving = nodes.at(leaver);
    if (!leaving.leaving) continue;
    for (const std::uint32_t stage : stages) {
      if (hosts_of(stage, growth) > 0) continue;
      if (const net::NodeKey* host = find_host(stage, growth)) {
        growth.learners[*host] = {stage};
        hosted = true;
      } else if (!leaving.stuck_told) {
        leaving.stuck_told = true;
        log(net::LogLevel::warning, active->id,
            "nobody can take stage " + std::to_string(stage) + " over from " + label(leaving.member) + ": " +
                nobody(stage));
      }
    }
  }
  if (active->spec.pipeline.plan.is_null() && find_copies(growth)) hosted = true;
  return hosted;
}

}  // namespace sidestep::scheduler
