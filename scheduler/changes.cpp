// A plan that takes the place of the one before at a Commit, without a stop: everybody concerned is given it,
// and when all have it, the lead origin names it in its next Commit. What has to outlive the scheduler of it
// is in the job's row: `offered` {"plan", "view", "told"}; `handing_over` {"unproven": [key…], "gone": {key:
// epoch}, "leaving": [{"node", "boot", "why"}…]}.
#include <algorithm>

#include "scheduler/json_reader.h"
#include "scheduler/plan_model.h"
#include "scheduler/planner/evaluator.h"
#include "scheduler/scheduler_state.h"
#include "scheduler/store_json.h"

namespace sidestep::scheduler {
namespace {

// A plan whose step is longer by less than this is as good.
constexpr double noise = 1.02;
// A change of routes alone has to be worth so much: figures are measured, and the next may differ.
constexpr double pays = 1.05;

// What could not be planned is tried again after this; other routes where steps are not as predicted, after
// that.
constexpr std::int64_t again_us = 10'000'000;
constexpr std::int64_t drift_again_us = 60'000'000;

}  // namespace

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
  assign_mirrors(plan);
  JobRow& job = row(active->id);
  job.last_epoch = plan.epoch;
  active->change = Active::Change{std::move(plan), {}, {}};
  active->change->view = members_of(active->change->plan);
  job.offered = {
      {"plan", to_json(active->change->plan)}, {"view", view_to_json(active->change->view)}, {"told", false}};
  save(job);
  post_offer();
}

void SchedulerCore::State::restore_change(const JobRow& job) {
  JsonReader reader("a change of plan as stored");
  if (!job.offered.is_null()) {
    Result<Plan> plan = parse_plan(reader.member(job.offered, "plan"));
    net::View members = read_view(reader.member(job.offered, "view"), reader);
    const bool told = reader.flag(reader.member(job.offered, "told"));
    if (!plan.ok()) reader.fail(plan.status().message());
    if (reader.ok())
      active->change = Active::Change{std::move(plan).value(), std::move(members), {}, false, told};
  }
  if (!job.handing_over.is_null()) {
    for (const nlohmann::json& node : reader.list(reader.member(job.handing_over, "unproven")))
      active->unproven.insert(reader.key(reader.text(node)));
    for (const auto& [node, epoch] : reader.object(reader.member(job.handing_over, "gone")).items())
      active->gone[reader.key(node)] = reader.natural(epoch);
    for (const nlohmann::json& entry : reader.list(reader.member(job.handing_over, "leaving"))) {
      const auto node = nodes.find(reader.key(reader.text(reader.member(entry, "node"))));
      if (node != nodes.end() && node->second.member.boot == reader.natural(reader.member(entry, "boot")))
        node->second.leaving = reader.text(reader.member(entry, "why"));
    }
  }
  if (!reader.ok()) log(net::LogLevel::error, job.id, reader.status().message());
  std::erase_if(active->unproven, [&](const net::NodeKey& key) {
    return !nodes.contains(key) || !active->plan.stages_of.contains(key);
  });
  std::erase_if(active->gone, [&](const auto& entry) { return !nodes.contains(entry.first); });
  expect_successors();  // one may have gone for good meanwhile
}

void SchedulerCore::State::note_handing_over(JobRow& job) const {
  nlohmann::json unproven = nlohmann::json::array(), gone = nlohmann::json::object(),
                 leaving = nlohmann::json::array();
  for (const net::NodeKey& key : active->unproven) unproven.push_back(key.hex());
  for (const auto& [key, epoch] : active->gone) gone[key.hex()] = epoch;
  for (const auto& [key, node] : nodes)
    if (node.leaving)
      leaving.push_back({{"node", key.hex()}, {"boot", node.member.boot}, {"why", *node.leaving}});
  job.handing_over = {
      {"unproven", std::move(unproven)}, {"gone", std::move(gone)}, {"leaving", std::move(leaving)}};
}

void SchedulerCore::State::post_offer() {
  Active::Change& change = *active->change;
  change.posted = true;
  const JobRow& job = row(active->id);
  net::StartJob order{job.id, spec_of_run(job), to_json(change.plan), change.view, job.commit, true};
  // Names of those that learn are for people.
  for (const auto& [key, stages] : change.plan.learners)
    if (const auto node = nodes.find(key); node != nodes.end() && !change.plan.stages_of.contains(key))
      order.view.members.push_back(node->second.member);
  for (const auto& [key, node] : nodes)
    if (has_part(key) && !active->gone.contains(key)) change.unacked[post(node, order)] = key;
}

void SchedulerCore::State::void_changes() {
  if (active->growth) active->planning.reset();
  active->growth.reset();
  if (active->change && !active->change->told) withdraw_offer();
}

// Precondition: nobody can have named it yet, or everybody gets another plan at once.
void SchedulerCore::State::withdraw_offer() {
  if (!active->change) return;
  courier.drop_if([&](const net::NodeKey&, const net::Message& message) {
    const auto* start = std::get_if<net::StartJob>(&message);
    return std::holds_alternative<net::AdoptPlan>(message) || (start != nullptr && start->at_commit);
  });
  // Those that it would have brought in begin anew.
  const Plan withdrawn = std::move(active->change->plan);
  active->change.reset();
  JobRow& job = row(active->id);
  job.offered = nullptr;
  save(job);
  for (const auto& [key, node] : nodes)
    if ((withdrawn.learners.contains(key) || withdrawn.stages_of.contains(key)) && !has_part(key) &&
        takes_part(node.member))
      post_end(node, active->id, "the plan that gave it a part was withdrawn", last_epoch());
}

void SchedulerCore::State::take_ack_of_offer(const net::NodeKey& peer, const net::Ack& ack) {
  if (!active || !active->change) return;
  const std::size_t acked = std::erase_if(active->change->unacked, [&](const auto& waiting) {
    return waiting.second == peer && std::ranges::find(ack.ids, waiting.first) != ack.ids.end();
  });
  if (acked > 0) tell_lead_if_all_have_it();
}

void SchedulerCore::State::tell_lead_if_all_have_it() {
  Active::Change& change = *active->change;
  const auto lead = nodes.find(active->plan.lead_origin());
  if (!change.posted || !change.unacked.empty() || lead == nodes.end()) return;
  // Stored first: a scheduler that forgot it could take the plan back.
  change.told = true;
  JobRow& job = row(active->id);
  job.offered["told"] = true;
  save(job);
  post(lead->second, net::AdoptPlan{active->id, change.plan.epoch});
}

void SchedulerCore::State::adopt_offered() {
  JobRow& job = row(active->id);
  Active::Change change = *std::exchange(active->change, std::nullopt);
  std::vector<net::NodeKey> learned;
  for (const auto& [key, node] : nodes) {
    if (change.plan.stages_of.contains(key) || change.plan.learners.contains(key)) continue;
    if (active->plan.stages_of.contains(key))
      active->gone.emplace(key, change.plan.epoch);
    else if (active->plan.learners.contains(key))  // owes nothing to anybody
      learned.push_back(key);
  }
  const auto name_of = [&](const net::NodeKey& key) {
    return nodes.contains(key) ? nodes.at(key).member.nickname : key.short_name();
  };
  std::string text;
  for (const auto& [key, stages] : change.plan.stages_of)
    for (const std::uint32_t stage : stages)
      if (!active->plan.holds(key, stage)) {
        if (!nodes.contains(key) || !works_under(nodes.at(key), change.plan.epoch))
          active->unproven.insert(key);
        text += "; " + name_of(key) + " takes stage " + std::to_string(stage);
      }
  for (const auto& [key, epoch] : active->gone)
    if (active->plan.stages_of.contains(key)) text += "; without " + name_of(key);
  for (const auto& [key, stages] : change.plan.learners)
    for (const std::uint32_t stage : stages)
      if (!active->plan.learners.contains(key))
        text += "; " + name_of(key) + (change.plan.is_out(stage) ? " rebuilds stage " : " learns stage ") +
                std::to_string(stage);
  const bool same_routes = change.plan.phases == active->plan.phases;
  active->plan = std::move(change.plan);
  note_out(active->plan);
  std::erase_if(active->failed_lessons,
                [&](const net::NodeKey& key) { return active->plan.lessons(key).empty(); });
  job.view = std::move(change.view);
  job.plan = to_json(active->plan);
  job.plan_at_commit = true;
  job.offered = nullptr;
  active->prove_by_us.reset();
  note_handing_over(job);
  active->snapshot_asked = 0;  // whoever leads now was not asked for one
  log(net::LogLevel::info, job.id,
      "plan " + std::to_string(active->plan.epoch) + " from step " + std::to_string(*job.commit + 1) + " on" +
          text + (same_routes ? "" : predicted_text(active->plan)));
  for (const net::NodeKey& key : learned) {
    post_end(nodes.at(key), job.id, "it learns no more", active->plan.epoch);
    if (nodes.at(key).greeted) ask_to_prepare(nodes.at(key));  // one that came back anew was not asked yet
  }
}

void SchedulerCore::State::on_plan_for_drift(const Result<Plan>& planned, const Active::Growth& growth) {
  active->drift_after_us = now_us + drift_again_us;
  if (!planned.ok())
    return log(net::LogLevel::info, active->id, "no other routes were found: " + planned.status().message());
  const std::uint64_t step = *row(active->id).commit + 1;
  const PlanModel model = model_of(active->spec, active->plan, step, nodes_of_plan());
  const std::int64_t before_us = evaluate(model.instance, model.plan).step_us;
  const std::int64_t after_us = planned.value().phase(step).predicted_step_us;
  const std::string figures =
      milliseconds(after_us) + ", by what is measured now, not " + milliseconds(before_us);
  if (pays * static_cast<double>(after_us) > static_cast<double>(before_us))
    return log(net::LogLevel::info, active->id, "the routes stay: the best others would take " + figures);
  log(net::LogLevel::info, active->id, "other routes are better: a step would take " + figures);
  Plan plan = planned.value();
  plan.learners = growth.learners;
  offer(std::move(plan));
}

void SchedulerCore::State::on_plan_of_change(const Result<Plan>& planned) {
  const Active::Growth growth = *std::exchange(active->growth, std::nullopt);
  const JobRow& job = row(active->id);
  if (committed_all()) return;
  if (growth.stages_of == active->plan.stages_of) return on_plan_for_drift(planned, growth);
  std::vector<net::NodeKey> promoted;
  bool needed = false;  // somebody leaves, or a stage had one replica
  for (const auto& [key, stages] : active->plan.stages_of) needed |= !growth.stages_of.contains(key);
  for (const auto& [key, stages] : growth.stages_of)
    for (const std::uint32_t stage : stages) {
      if (active->plan.holds(key, stage)) continue;
      promoted.push_back(key);
      const std::size_t holders = active->plan.replicas(stage).size();
      needed |= holders <= 1 || holders < active->spec.recovery.holders_wanted(stage);
    }
  const std::int64_t before_us = active->plan.phase(*job.commit + 1).predicted_step_us;
  const std::int64_t after_us = planned.ok() ? planned.value().phase(*job.commit + 1).predicted_step_us : 0;
  const bool longer = before_us > 0 && static_cast<double>(after_us) > noise * static_cast<double>(before_us);
  Plan plan;
  if (planned.ok() && (needed || !longer)) {
    plan = planned.value();
  } else {
    // What has learned in vain stands by.
    log(net::LogLevel::info, active->id,
        planned.ok() ? "a step with the newcomers would take longer (" + std::to_string(after_us / 1000) +
                           " ms, not " + std::to_string(before_us / 1000) + "); they stand by"
                     : "no plan with the newcomers: " + planned.status().message());
    active->grow_after_us = now_us + again_us;
    const bool somebody_leaves =
        std::ranges::any_of(nodes, [](const auto& entry) { return entry.second.leaving.has_value(); });
    // It would learn the same again: a plan with it may not fit, whoever else holds the stage.
    for (const net::NodeKey& key : promoted)
      if (!planned.ok() && active->plan.stages_of.contains(key)) ++active->failures[key];
    for (const net::NodeKey& key : promoted)
      if (!somebody_leaves && !active->plan.stages_of.contains(key)) active->spare.insert(key);
    if (promoted.empty()) return;
    plan = active->plan;
    plan.epoch = last_epoch() + 1;
  }
  plan.learners = growth.learners;
  offer(std::move(plan));
}

}  // namespace sidestep::scheduler
