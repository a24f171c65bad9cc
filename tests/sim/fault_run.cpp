#include "tests/sim/fault_run.h"

#include <algorithm>
#include <set>
#include <sstream>

#include "net/clock.h"
#include "tests/sim/checker.h"

namespace sidestep::sim {

using net::ms;
using net::second;

namespace {

constexpr std::int64_t fault_job_us_max = 900 * second;
constexpr std::int64_t fault_settle_us = 20 * second;
// A node that was declared dead or ended is back this long after its fault at the latest.
constexpr std::int64_t fault_us_max = 12 * second;

enum class Kind { kill, machine, pause, cut, cut_one_way, cut_scheduler, slow_link, drain, restart, count };

class Faults {
 public:
  Faults(SimCluster& cluster, const FaultRun& run)
      : cluster_(cluster), run_(run), random_(run.seed), late_(run.options.nodes_later) {}

  void begin(const std::string& job) {
    job_ = job;
    std::int64_t at_us = cluster_.now_us() + random_.between(0, 2'000) * ms;
    for (std::int64_t i = 0; i < run_.faults; ++i) {
      cluster_.at(at_us, [this] { one(); });
      at_us += random_.between(200, 9'000) * ms;
    }
    for (std::size_t i = cluster_.node_count() - late_; i < cluster_.node_count(); ++i)
      cluster_.at(cluster_.now_us() + random_.between(0, 10'000) * ms, [this, i] { cluster_.start_node(i); });
  }

  // What happened, for the message of a failed test.
  std::string story() const { return story_; }
  bool lost_stage() const { return lost_stage_; }

 private:
  // The node is well, and has been for long enough to have taken part again.
  bool is_well(std::size_t node) const { return cluster_.alive(node) && !hurt_.contains(node); }

  // Whether every stage that the node holds has another holder that is well. Of one that holds none: yes.
  bool may_fail(std::size_t node) const {
    const scheduler::JobRow* row = cluster_.job(job_);
    if (row == nullptr) return false;
    if (row->plan.is_null()) return run_.job.checkpoint_every > 0;  // it goes back
    const scheduler::Plan plan = std::move(scheduler::parse_plan(row->plan)).value();
    const auto held = plan.stages_of.find(cluster_.key(node));
    if (held == plan.stages_of.end() || run_.job.checkpoint_every > 0) return true;
    return std::ranges::all_of(held->second, [&](std::uint32_t stage) {
      if (stage > 0 && run_.job.recovery != "replica") return true;
      return std::ranges::any_of(plan.replicas(stage), [&](const net::NodeKey& key) {
        const std::size_t other = cluster_.node_of(key);
        return other != node && is_well(other) && proven(key, plan);
      });
    });
  }

  // It has been in the plan for a while: whoever has just taken a stage over may not have it whole.
  bool proven(const net::NodeKey& key, const scheduler::Plan& plan) const {
    const auto& plans = cluster_.plans(job_);
    const auto before = plans.find(plan.epoch - 1);
    const bool was_there = before == plans.end() || before->second.stages_of.contains(key);
    return was_there && cluster_.now_us() - plan_since(plan.epoch) >= 2 * second;
  }

  std::int64_t plan_since(std::uint64_t epoch) const {
    if (epoch != epoch_) {
      epoch_ = epoch;
      since_us_ = cluster_.now_us();
    }
    return since_us_;
  }

  void one() {
    const scheduler::JobRow* row = cluster_.job(job_);
    if (row == nullptr || ended(row->state)) return;
    const auto kind = static_cast<Kind>(random_.between(0, static_cast<std::int64_t>(Kind::count) - 1));
    const auto node =
        static_cast<std::size_t>(random_.between(0, static_cast<std::int64_t>(cluster_.node_count()) - 1));
    const std::size_t other =
        (node + 1 +
         static_cast<std::size_t>(random_.between(0, static_cast<std::int64_t>(cluster_.node_count()) - 2))) %
        cluster_.node_count();
    const std::int64_t duration_us = random_.between(50, fault_us_max / ms) * ms;
    if (kind == Kind::restart) {
      tell("the scheduler restarts");
      return cluster_.restart_scheduler(random_.between(50, 3'000) * ms);
    }
    if (!is_well(node)) return;
    if (!may_fail(node)) {
      if (!run_.may_lose_stage) return;
      lost_stage_ = true;
    }
    hurt_.insert(node);
    const std::string name = "node-" + std::to_string(node + 1);
    const std::string until = " for " + std::to_string(duration_us / ms) + " ms";
    cluster_.at(cluster_.now_us() + duration_us + 8 * second, [this, node] { hurt_.erase(node); });
    switch (kind) {
      case Kind::kill:
      case Kind::machine:
        tell(name + (kind == Kind::kill ? " is killed" : " is cut off for good") + until);
        cluster_.kill(node, kind == Kind::machine);
        return start_later(node, duration_us);
      case Kind::pause:
        tell(name + " is paused" + until);
        return cluster_.pause(node, duration_us);
      case Kind::drain:
        tell(name + " is drained, comes back" + until);
        cluster_.stop(node, "SIGTERM", duration_us);
        return start_later(node, duration_us + 2 * second);
      case Kind::cut:
      case Kind::cut_one_way:
        // Nobody is dead, and nothing goes on: short.
        tell(name + " and node-" + std::to_string(other + 1) + " are cut" + until);
        kind == Kind::cut ? cluster_.cut(node, other) : cluster_.cut_one_way(node, other);
        return heal_later(duration_us, [this, node, other] { cluster_.heal(node, other); });
      case Kind::cut_scheduler:
        tell(name + " is cut from the scheduler" + until);
        cluster_.cut_from_scheduler(node);
        return heal_later(duration_us, [this, node] { cluster_.heal_to_scheduler(node); });
      case Kind::slow_link: {
        tell(name + " to node-" + std::to_string(other + 1) + " is slow from now on");
        net::SimLinkOptions slow = run_.options.link;
        slow.delay_us_min = slow.delay_us_max = random_.between(20, 200) * ms;
        cluster_.network().set_link(cluster_.key(node), cluster_.key(other), slow);
        return;
      }
      case Kind::restart:
      case Kind::count:
        return;
    }
  }

  void start_later(std::size_t node, std::int64_t after_us) {
    cluster_.at(cluster_.now_us() + after_us, [this, node] {
      if (!cluster_.alive(node)) cluster_.start_node(node);
    });
  }

  void heal_later(std::int64_t after_us, std::function<void()> heal) {
    cluster_.at(cluster_.now_us() + after_us, std::move(heal));
  }

  void tell(const std::string& what) { story_ += std::to_string(cluster_.now_us()) + " " + what + "\n"; }

  SimCluster& cluster_;
  const FaultRun& run_;
  net::Random random_;
  std::size_t late_;
  std::string job_;
  std::set<std::size_t> hurt_;
  bool lost_stage_ = false;
  std::string story_;
  mutable std::uint64_t epoch_ = 0;
  mutable std::int64_t since_us_ = 0;
};

}  // namespace

FaultRun draw_fault_run(std::uint64_t seed) {
  const RandomRun base = draw_run(seed);
  net::Random random(seed * 7 + 3);
  FaultRun run;
  run.job = base.job;
  run.options = base.options;
  run.job.stages = random.between(1, 3);
  run.job.steps = random.between(20, 60);
  run.job.microbatches = random.between(2, 8);
  run.options.nodes = static_cast<std::size_t>(random.between(5, 8));
  run.options.nodes_without_data = static_cast<std::size_t>(random.between(0, 2));
  run.options.nodes_later = random.chance(0.5) ? 1 : 0;
  run.options.fake.non_finite_step = 0;
  run.seed = random.next();
  run.faults = random.between(1, 8);
  run.may_lose_stage = random.chance(0.2);
  return run;
}

FaultRun draw_rebuild_run(std::uint64_t seed) {
  FaultRun run = draw_fault_run(seed);
  net::Random random(seed * 11 + 5);
  run.job.recovery = "checkfree";
  run.job.stages = random.between(
      2, static_cast<std::int64_t>(std::min<std::size_t>(5, run.options.nodes - run.options.nodes_later)));
  run.may_lose_stage = false;
  if (random.chance(0.3)) run.job.recovery = "mirror";
  if (run.job.recovery == "mirror" && random.chance(0.6)) run.job.mirror_every = random.between(2, 10);
  return run;
}

FaultRun draw_checkpoint_run(std::uint64_t seed) {
  FaultRun run = draw_fault_run(seed);
  net::Random random(seed * 13 + 7);
  run.job.recovery = "checkpoint";
  run.job.checkpoint_every = random.between(1, 15);
  run.may_lose_stage = false;
  // What runs again is then the same on any routes.
  run.job.skip_ratio = 0.0;
  run.job.warmup_steps = run.job.max_swaps = 0;
  run.options.fake.exact_sums = true;
  return run;
}

std::string FaultRun::describe() const {
  std::ostringstream text;
  text << job.stages << " stages on " << options.nodes << " nodes, " << options.nodes_later
       << " of them later, " << options.nodes_without_data << " without data, " << job.steps << " steps, "
       << job.microbatches << " microbatches, " << faults << " faults"
       << (may_lose_stage ? ", may lose a stage" : "")
       << (job.checkpoint_every > 0 ? ", checkpoint every " + std::to_string(job.checkpoint_every) : "")
       << (job.deterministic ? ", deterministic" : "") << (job.tied ? ", tied" : "") << ", message loss "
       << options.link.loss;
  return text.str();
}

RunResult run(const FaultRun& drawn) {
  SimCluster cluster(drawn.options);
  Faults faults(cluster, drawn);
  cluster.start();
  RunResult result;
  const auto wrong = [&](const std::string& what) { result.problems.push_back(what); };
  if (!cluster.run_until_joined(drawn.options.nodes - drawn.options.nodes_later))
    wrong("not all nodes joined");
  const std::string job = cluster.submit(job_json(drawn.job));
  if (!cluster.run_until_commit(job, 0, fault_job_us_max)) wrong("training did not begin");
  faults.begin(job);
  const bool is_over = cluster.run_until_ended(job, fault_job_us_max);
  const scheduler::JobRow& row = *cluster.job(job);
  if (!is_over) wrong("the job did not end in " + std::to_string(fault_job_us_max / second) + " s");
  cluster.network().heal_all();
  cluster.run_for(fault_settle_us);
  const bool done = row.state == scheduler::JobState::done;
  const bool lost = row.reason.find("no replica left") != std::string::npos;
  if (is_over && !done && !(faults.lost_stage() && lost)) wrong("not done: " + row.reason);
  if (done) {
    for (const std::string& problem : check_done(cluster, job, drawn.options.fake)) wrong(problem);
  } else {
    for (const std::string& problem : cluster.violations()) wrong(problem);
    for (const std::string& problem :
         check_record(job_spec(drawn.job), cluster.plans_and_offers(job), cluster.record(job), false))
      wrong(problem);
  }
  result.trace = cluster.trace();
  result.last_lines = faults.story() + cluster.last_lines();
  return result;
}

}  // namespace sidestep::sim
