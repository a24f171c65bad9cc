#include "tests/sim/checker.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "daemon/solo/replay.h"

namespace sidestep::sim {

using net::Added;
using net::Hop;
using net::NodeKey;
using scheduler::JobSpec;
using scheduler::Plan;
using scheduler::RecordReplica;
using scheduler::RecordRoute;
using scheduler::RecordStage;
using scheduler::RecordStep;

namespace {

bool trains(const JobSpec& job, std::uint64_t step) {
  return step >= 1 && step <= static_cast<std::uint64_t>(job.steps);
}

std::map<std::uint32_t, RecordRoute> final_routes(const std::vector<RecordRoute>& routes) {
  std::map<std::uint32_t, RecordRoute> last;
  for (const RecordRoute& route : routes) {
    const auto known = last.find(route.microbatch);
    if (known == last.end() || known->second.attempt < route.attempt) last[route.microbatch] = route;
  }
  return last;
}

double mean(const std::map<std::uint32_t, RecordRoute>& routes) {
  double sum = 0;
  for (const auto& [microbatch, route] : routes) sum += route.loss;
  return sum / static_cast<double>(routes.size());
}

class StepCheck {
 public:
  StepCheck(const JobSpec& job, const Plan& plan, const RecordStep& step, Problems& problems)
      : job_(job), plan_(plan), step_(step), problems_(problems) {}

  void run() {
    const auto microbatches = trains(job_, step_.step) ? job_.pipeline.microbatches_per_step : 0;
    const auto evaluations = step_.step == 0 ? 0 : job_.evaluations_in(static_cast<std::int64_t>(step_.step));
    check_routes("microbatch", step_.routes, plan_.phase(step_.step).routes, microbatches);
    check_routes("validation microbatch", step_.evaluations, plan_.evaluations, evaluations);
    check_loss("microbatch", step_.routes, 0, microbatches, step_.loss);
    check_validation(evaluations);
    for (const RecordRoute& route : step_.routes) check_length(route, job_.pipeline.phases());
    check_places();
    check_added();
    const std::int64_t tokens = microbatches * job_.pipeline.microbatch_size * job_.data.sequence_length;
    if (step_.tokens != static_cast<std::uint64_t>(tokens))
      wrong("counts " + std::to_string(step_.tokens) + " tokens");
  }

 private:
  void wrong(const std::string& what) {
    problems_.push_back("step " + std::to_string(step_.step) + " " + what);
  }

  void check_routes(const std::string& kind, const std::vector<RecordRoute>& routes,
                    const std::vector<scheduler::PlannedRoute>& planned, std::int64_t count) {
    const auto closed = final_routes(routes);
    if (closed.size() != static_cast<std::size_t>(count) ||
        (count > 0 && closed.rbegin()->first != static_cast<std::uint32_t>(count - 1))) {
      return wrong("has " + std::to_string(closed.size()) + " of " + kind + ", not " + std::to_string(count));
    }
    for (const auto& [microbatch, route] : closed) {
      const auto plan = std::ranges::find(planned, microbatch, &scheduler::PlannedRoute::microbatch);
      if (plan == planned.end() || plan->hops != route.hops) {
        wrong(kind + " " + std::to_string(microbatch) + " took another route than planned");
      }
    }
  }

  // The loss of the microbatches [first, first + count).
  void check_loss(const std::string& kind, const std::vector<RecordRoute>& routes, std::int64_t first,
                  std::int64_t count, const std::optional<double>& loss) {
    auto closed = final_routes(routes);
    std::erase_if(closed,
                  [&](const auto& route) { return route.first < first || route.first >= first + count; });
    if (loss.has_value() != (count > 0)) return wrong("has no mean loss, or one too many, of " + kind);
    if (loss && *loss != mean(closed)) wrong("has a loss that is not the mean of each " + kind);
  }

  void check_validation(std::int64_t evaluations) {
    const std::int64_t each = evaluations > 0 ? job_.validation.microbatches : 0;
    check_loss("validation microbatch", step_.evaluations, 0, each, step_.validation_loss);
    const std::size_t further = evaluations > 0 ? job_.validation.skip.size() : 0;
    if (step_.validation_skip_losses.size() != further)
      return wrong("has " + std::to_string(step_.validation_skip_losses.size()) +
                   " losses of partial validations");
    for (std::size_t i = 0; i < further; ++i)
      check_loss("partial validation microbatch", step_.evaluations, static_cast<std::int64_t>(i + 1) * each,
                 each, step_.validation_skip_losses[i]);
    for (const RecordRoute& route : step_.evaluations) {
      const std::size_t share = route.microbatch / static_cast<std::size_t>(each);
      check_length(route, {{1, share == 0 ? 0 : job_.validation.skip[share - 1]}});
    }
  }

  // design.md, Words: skip ratio.
  void check_length(const RecordRoute& route, const std::vector<scheduler::SkipPhase>& phases) {
    double ratio = 0;
    for (const scheduler::SkipPhase& phase : phases)
      if (static_cast<std::uint64_t>(phase.from_step) <= step_.step) ratio = phase.ratio;
    const auto stages = static_cast<double>(job_.pipeline.stages);
    const double live = stages - static_cast<double>(plan_.stages_out.size());
    const auto length = std::min(live, std::max(1.0, std::floor(stages * (1 - ratio) + 0.5)));
    if (static_cast<double>(route.hops.size()) != length)
      wrong("microbatch " + std::to_string(route.microbatch) + " visits " +
            std::to_string(route.hops.size()) + " stages at skip ratio " + std::to_string(ratio));
  }

  // Every stage is listed with exactly its replicas, in key order.
  void check_places() {
    if (step_.stages.empty() && !trains(job_, step_.step)) return;
    for (std::uint32_t stage = 0; stage < plan_.stage_count(); ++stage) {
      const auto entry = std::ranges::find(step_.stages, stage, &RecordStage::stage);
      if (plan_.is_out(stage)) {
        if (entry != step_.stages.end()) wrong("lists stage " + std::to_string(stage) + ", which is out");
        continue;
      }
      if (entry == step_.stages.end()) {
        wrong("does not list stage " + std::to_string(stage));
        continue;
      }
      std::vector<NodeKey> nodes;
      for (const RecordReplica& replica : entry->replicas) nodes.push_back(replica.node);
      if (nodes != plan_.replicas(stage)) wrong("lists other replicas of stage " + std::to_string(stage));
    }
  }

  void check_added() {
    using Name = std::tuple<std::uint32_t, std::uint32_t, bool>;  // stage, microbatch, head
    std::map<Name, NodeKey> expected;
    for (const auto& [microbatch, route] : final_routes(step_.routes)) {
      expected[{0, microbatch, true}] = route.hops.front().node;
      for (const Hop& hop : route.hops) expected[{hop.stage, microbatch, false}] = hop.node;
    }
    for (const RecordStage& stage : step_.stages) {
      for (const RecordReplica& replica : stage.replicas) {
        for (const Added& added : replica.added) {
          const auto name = expected.find({stage.stage, added.microbatch, added.head});
          if (name == expected.end() || name->second != replica.node) {
            wrong("microbatch " + std::to_string(added.microbatch) + " was added to stage " +
                  std::to_string(stage.stage) + " twice, or where it did not go");
          } else {
            expected.erase(name);
          }
        }
      }
    }
    for (const auto& [name, node] : expected) {
      wrong("microbatch " + std::to_string(std::get<1>(name)) + " was not added to stage " +
            std::to_string(std::get<0>(name)));
    }
  }

  const JobSpec& job_;
  const Plan& plan_;
  const RecordStep& step_;
  Problems& problems_;
};

// The node's parts in that job: it may begin more than once.
std::vector<const FakeJob*> parts_of(const FakeTrace& trace, const std::string& name) {
  std::vector<const FakeJob*> parts;
  for (const FakeJob& job : trace.jobs)
    if (job.name == name) parts.push_back(&job);
  return parts;
}

// Every node that some plan gives a stage.
std::set<NodeKey> everybody(const std::map<std::uint64_t, Plan>& plans) {
  std::set<NodeKey> keys;
  for (const auto& [epoch, plan] : plans)
    for (const auto& [key, stages] : plan.stages_of) keys.insert(key);
  return keys;
}

bool in_all(const std::map<std::uint64_t, Plan>& plans, const NodeKey& key) {
  return std::ranges::all_of(plans, [&](const auto& plan) { return plan.second.stages_of.contains(key); });
}

void append(Problems& all, Problems more) {
  all.insert(all.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

daemon::StepSource source_of(const std::vector<RecordStep>& steps) {
  return [&steps, next = std::size_t{0}]() mutable -> Result<std::optional<RecordStep>> {
    if (next == steps.size()) return std::optional<RecordStep>();
    return std::optional<RecordStep>(steps[next++]);
  };
}

bool takes_part(const RecordStep& step, const NodeKey& key) {
  return std::ranges::any_of(step.stages, [&](const RecordStage& stage) {
    return std::ranges::find(stage.replicas, key, &RecordReplica::node) != stage.replicas.end();
  });
}

// A replay has all that the swarm had, by step and stage; replicas are equal there as here.
Problems check_weights(const SimCluster& cluster, const std::map<std::uint64_t, Plan>& plans,
                       const std::string& name, const std::vector<RecordStep>& steps,
                       const FakeTrace& replayed) {
  std::map<std::pair<std::uint64_t, std::uint32_t>, std::uint64_t> followed;
  for (const FakeJob& job : replayed.jobs)
    for (const auto& [step, of_stages] : job.weights)
      for (const auto& [stage, weights] : of_stages) followed[{step, stage}] = weights;
  Problems problems;
  for (const NodeKey& key : everybody(plans)) {
    for (const FakeJob* lived : parts_of(cluster.fake(cluster.node_of(key)), name)) {
      for (const auto& [step, of_stages] : lived->weights) {
        // A lost node may have made the update of a commit that it is not part of any more in the record.
        if (step > 0 && step < steps.size() && !takes_part(steps[step], key)) continue;
        const bool same = std::ranges::all_of(of_stages, [&, step = step](const auto& entry) {
          const auto there = followed.find({step, entry.first});
          return there == followed.end() || there->second == entry.second;
        });
        if (same) continue;
        problems.push_back("step " + std::to_string(step) + ": node " + key.short_name() +
                           " has other weights than its replay");
        break;
      }
    }
  }
  return problems;
}

using WeightsByPlace = std::map<std::pair<std::uint64_t, std::uint32_t>, std::uint64_t>;  // by step, stage

// Whether the node holds or learns a stage under the plan of this step or the next. One that does not was
// declared dead, perhaps wrongly: it may yet take in a Commit that only it was sent, and nobody asks it.
bool has_part(const std::map<std::uint64_t, Plan>& plans, const std::vector<RecordStep>& steps,
              const NodeKey& key, std::uint64_t step) {
  for (std::uint64_t one = step; one <= step + 1 && one < steps.size(); ++one) {
    const auto plan = plans.find(steps[one].epoch);
    if (plan != plans.end() && (plan->second.stages_of.contains(key) || plan->second.learners.contains(key)))
      return true;
  }
  return false;
}

// What a node did in one part: its weights against those of others, the scales of its averages.
void check_part(const JobSpec& job, const std::map<std::uint64_t, Plan>& plans,
                const std::vector<RecordStep>& steps, const NodeKey& key, const FakeJob& part,
                bool throughout, WeightsByPlace& weights, Problems& problems) {
  const std::string who = "node " + key.short_name();
  for (const auto& [step, of_stages] : part.weights) {
    if (!has_part(plans, steps, key, step)) continue;
    for (const auto& [stage, value] : of_stages) {
      const auto [known, first] = weights.emplace(std::pair(step, stage), value);
      if (known->second != value) {
        problems.push_back("step " + std::to_string(step) + ", stage " + std::to_string(stage) +
                           ": replicas differ, " + who);
      }
    }
  }
  for (const auto& [step, of_stages] : part.scales) {
    for (const auto& [stage, scale] : of_stages) {
      if (!throughout) continue;  // it may have been in the middle of a step that began anew without it
      std::int64_t count = job.pipeline.microbatches_per_step;
      if (job.gradient_scale == "visited" && step < steps.size()) {
        count = std::ranges::count_if(steps[step].routes, [stage = stage](const RecordRoute& route) {
          return std::ranges::find(route.hops, stage, &Hop::stage) != route.hops.end();
        });
      }
      if (scale != 1.0 / static_cast<double>(count)) {
        problems.push_back("step " + std::to_string(step) + ", stage " + std::to_string(stage) +
                           ": averaged with scale " + std::to_string(scale));
      }
    }
  }
}

}  // namespace

std::string join(const Problems& problems) {
  std::string text;
  for (const std::string& problem : problems) text += problem + "\n";
  return text;
}

Plan plan_of(const SimCluster& cluster, const std::string& job) {
  return std::move(scheduler::parse_plan(cluster.job(job)->plan)).value();
}

std::size_t holder_of(const SimCluster& cluster, const std::string& job, std::uint32_t stage) {
  return cluster.node_of(plan_of(cluster, job).replicas(stage).front());
}

Problems check_record(const JobSpec& job, const std::map<std::uint64_t, Plan>& plans,
                      const std::vector<RecordStep>& steps, bool complete) {
  Problems problems;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const auto plan = plans.find(steps[i].epoch);
    if (plan == plans.end() || (i > 0 && steps[i].epoch < steps[i - 1].epoch)) {
      problems.push_back("step " + std::to_string(steps[i].step) + " is of plan " +
                         std::to_string(steps[i].epoch));
      return problems;
    }
    if (steps[i].step != i) {
      problems.push_back("step " + std::to_string(steps[i].step) + " is recorded where step " +
                         std::to_string(i) + " should be");
      return problems;
    }
    StepCheck(job, plan->second, steps[i], problems).run();
  }
  if (complete && steps.size() != static_cast<std::size_t>(job.final_step()) + 1) {
    problems.push_back("the record has " + std::to_string(steps.size()) + " steps, the job " +
                       std::to_string(job.final_step() + 1));
  }
  return problems;
}

Problems check_nodes(const SimCluster& cluster, const std::string& job_id,
                     const std::vector<RecordStep>& steps) {
  Problems problems;
  const scheduler::JobRow& row = *cluster.job(job_id);
  const JobSpec job = std::move(scheduler::parse_job(row.spec, job_id)).value();
  const std::map<std::uint64_t, Plan>& plans = cluster.plans(job_id);
  WeightsByPlace weights;
  for (const NodeKey& key : everybody(plans)) {
    const std::vector<const FakeJob*> parts = parts_of(cluster.fake(cluster.node_of(key)), job.name);
    const bool is_left = std::ranges::any_of(row.view.members, [&](const net::Member& member) {
      return member.key == key && cluster.runs(cluster.node_of(key), member.boot);
    });
    const std::string who = "node " + key.short_name();
    if (parts.empty()) {
      if (is_left) problems.push_back(who + " never began");
      continue;
    }
    // Of one that was there from the beginning to the end.
    const bool throughout = is_left && in_all(plans, key) && parts.size() == 1;
    if (throughout && parts.back()->updates != static_cast<std::uint64_t>(job.steps)) {
      problems.push_back(who + " made " + std::to_string(parts.back()->updates) + " updates");
    }
    if (is_left && !parts.back()->dropped) problems.push_back(who + " still holds the job");
    if (is_left && parts.back()->activations_at_drop != 0)
      problems.push_back(who + " kept activations to the end");
    for (const FakeJob* part : parts) {
      check_part(job, plans, steps, key, *part, throughout, weights, problems);
    }
  }
  for (std::size_t i = 0; i < cluster.node_count(); ++i) {
    if (cluster.fake(i).live_tensors != 0) {
      problems.push_back("node " + cluster.key(i).short_name() + ": " +
                         std::to_string(cluster.fake(i).live_tensors) + " tensors were never freed");
    }
  }
  return problems;
}

Problems check_replay(const JobSpec& job, const std::vector<RecordStep>& steps,
                      const daemon::TaskRunnerFactory& factory, double tolerance) {
  const scheduler::RecordHeader header{job.name, scheduler::to_json(job)};
  const Result<daemon::ReplayReport> report =
      daemon::replay(header, daemon::recoveries_of(steps), source_of(steps), factory);
  if (!report.ok()) return {"replay: " + report.status().message()};
  const daemon::ReplayReport& found = report.value();
  if (found.steps + 1 != steps.size()) return {"replay: stopped early"};
  if (!found.identical && (tolerance == 0 || found.largest_difference > tolerance)) {
    return {"replay: " + found.first_difference + "; largest relative difference " +
            std::to_string(found.largest_difference)};
  }
  return {};
}

Problems check_done(const SimCluster& cluster, const std::string& job_id, const FakeOptions& fake) {
  const scheduler::JobRow* row = cluster.job(job_id);
  if (row == nullptr || row->state != scheduler::JobState::done) {
    return {
        "the job is not done: " +
        (row == nullptr ? "unknown" : std::string(scheduler::to_string(row->state)) + ", " + row->reason)};
  }
  const JobSpec job = std::move(scheduler::parse_job(row->spec, job_id)).value();
  const std::map<std::uint64_t, Plan>& plans = cluster.plans(job_id);
  const std::vector<RecordStep> steps = cluster.record(job_id);
  Problems problems = cluster.violations();
  append(problems, check_record(job, cluster.plans_and_offers(job_id), steps, true));
  append(problems, check_nodes(cluster, job_id, steps));
  if (!problems.empty()) return problems;
  FakeOptions free_of_slots = fake;
  free_of_slots.limit_slots = false;
  auto replayed = std::make_shared<FakeTrace>();
  append(problems, check_replay(job, steps, fake_factory(free_of_slots, replayed), 0));
  append(problems, replayed->violations);
  if (problems.empty()) append(problems, check_weights(cluster, plans, job.name, steps, *replayed));
  return problems;
}

}  // namespace sidestep::sim
