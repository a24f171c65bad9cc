// A plan that takes the place of the one before at a Commit, without a stop: everybody concerned is given it,
// and when all have it, the lead origin names it in its next Commit.
#include <algorithm>

#include "scheduler/json_reader.h"
#include "scheduler/scheduler_state.h"
#include "scheduler/store_json.h"

namespace sidestep::scheduler {

net::View SchedulerCore::State::members_of(const Plan& plan) const {
  net::View members{view.number, {}};
  for (const auto& [key, stages] : plan.stages_of) {
    const auto node = nodes.find(key);
    SIDESTEP_ASSERT(node != nodes.end());
    members.members.push_back(node->second.member);
  }
  return members;
}

bool SchedulerCore::State::has_part(const net::NodeKey& key) const {
  if (!active) return false;
  const auto in = [&](const Plan& plan) {
    return plan.stages_of.contains(key) || plan.learners.contains(key);
  };
  return in(active->plan) || active->gone.contains(key) || (active->change && in(active->change->plan));
}

void SchedulerCore::State::offer(Plan plan) {
  JobRow& job = row(active->id);
  job.last_epoch = plan.epoch;
  active->change = Active::Change{std::move(plan), {}, {}};
  active->change->view = members_of(active->change->plan);
  job.offered = {{"plan", to_json(active->change->plan)}, {"view", view_to_json(active->change->view)}};
  save(job);
  post_offer();
}

void SchedulerCore::State::restore_offer(const JobRow& job) {
  Result<Plan> plan = parse_plan(job.offered.value("plan", nlohmann::json()));
  JsonReader reader("the plan that was offered");
  const net::View members = read_view(job.offered.value("view", nlohmann::json()), reader);
  if (!plan.ok() || !reader.ok()) return;
  active->change = Active::Change{std::move(plan).value(), members, {}};
}

void SchedulerCore::State::post_offer() {
  Active::Change& change = *active->change;
  change.posted = true;
  const JobRow& job = row(active->id);
  net::StartJob order{job.id, job.spec, to_json(change.plan), change.view, job.commit, true};
  // Names of those that learn are for people.
  for (const auto& [key, stages] : change.plan.learners)
    if (const auto node = nodes.find(key); node != nodes.end() && !change.plan.stages_of.contains(key))
      order.view.members.push_back(node->second.member);
  for (const auto& [key, node] : nodes)
    if (has_part(key) && !active->gone.contains(key)) change.unacked[post(node, order)] = key;
}

// Nobody can have named it yet, or everybody gets another plan at once.
void SchedulerCore::State::withdraw_offer() {
  if (!active->change) return;
  courier.drop_if([&](const net::NodeKey&, const net::Message& message) {
    const auto* start = std::get_if<net::StartJob>(&message);
    return std::holds_alternative<net::AdoptPlan>(message) || (start != nullptr && start->at_commit);
  });
  // Those that it would have brought in begin anew.
  const Plan withdrawn = std::move(active->change->plan);
  active->change.reset();
  for (const auto& [key, node] : nodes)
    if ((withdrawn.learners.contains(key) || withdrawn.stages_of.contains(key)) && !has_part(key))
      post_end(node, active->id, "the plan that gave it a part was withdrawn", last_epoch());
  JobRow& job = row(active->id);
  job.offered = nullptr;
  save(job);
}

void SchedulerCore::State::take_ack_of_offer(const net::NodeKey& peer, const net::Ack& ack) {
  if (!active || !active->change || !active->change->posted || active->change->told) return;
  Active::Change& change = *active->change;
  for (const std::uint64_t id : ack.ids)
    if (const auto waiting = change.unacked.find(id);
        waiting != change.unacked.end() && waiting->second == peer)
      change.unacked.erase(waiting);
  const auto lead = nodes.find(active->plan.lead_origin());
  if (!change.unacked.empty() || lead == nodes.end()) return;
  change.told = true;
  post(lead->second, net::AdoptPlan{active->id, change.plan.epoch});
}

void SchedulerCore::State::adopt_offered() {
  JobRow& job = row(active->id);
  Active::Change change = *std::exchange(active->change, std::nullopt);
  for (const auto* before : {&active->plan.stages_of, &active->plan.learners})
    for (const auto& [key, stages] : *before)
      if (nodes.contains(key) && !change.plan.stages_of.contains(key) && !change.plan.learners.contains(key))
        active->gone.insert(key);
  const auto name_of = [&](const net::NodeKey& key) {
    return nodes.contains(key) ? nodes.at(key).member.nickname : key.short_name();
  };
  std::string text;
  for (const auto& [key, stages] : change.plan.stages_of)
    for (const std::uint32_t stage : stages)
      if (!active->plan.holds(key, stage)) {
        active->unproven.insert(key);
        text += "; " + name_of(key) + " takes stage " + std::to_string(stage);
      }
  for (const net::NodeKey& key : active->gone)
    if (active->plan.stages_of.contains(key)) text += "; without " + name_of(key);
  for (const auto& [key, stages] : change.plan.learners)
    for (const std::uint32_t stage : stages)
      if (!active->plan.learners.contains(key))
        text += "; " + name_of(key) + " learns stage " + std::to_string(stage);
  const bool same_routes = change.plan.phases == active->plan.phases;
  active->plan = std::move(change.plan);
  job.view = std::move(change.view);
  job.plan = to_json(active->plan);
  job.plan_at_commit = true;
  job.offered = nullptr;
  active->snapshot_asked = 0;  // whoever leads now was not asked for one
  log(net::LogLevel::info, job.id,
      "plan " + std::to_string(active->plan.epoch) + " from step " + std::to_string(*job.commit + 1) + " on" +
          text + (same_routes ? "" : predicted_text(active->plan)));
}

}  // namespace sidestep::scheduler
