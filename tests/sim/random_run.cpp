#include "tests/sim/random_run.h"

#include <algorithm>
#include <set>
#include <sstream>

#include "net/clock.h"
#include "tests/sim/checker.h"

namespace sidestep::sim {

using net::ms;
using net::second;

namespace {

// More than any of these jobs needs, faults included: what takes longer is stuck.
constexpr std::int64_t job_us_max = 600 * second;
// Late repeats of what nobody waits for any more.
constexpr std::int64_t settle_us = 20 * second;
constexpr std::int64_t loss_us_max = 6 * second;

bool has_ended(const SimCluster& cluster, const std::string& job) {
  return cluster.job(job) != nullptr && ended(cluster.job(job)->state);
}

bool has_commit(const SimCluster& cluster, const std::string& job, std::uint64_t step) {
  const scheduler::JobRow* row = cluster.job(job);
  return row != nullptr && row->commit && *row->commit >= step;
}

}  // namespace

RandomRun draw_run(std::uint64_t seed) {
  net::Random random(seed);
  RandomRun run;
  run.job.seed = random.next() % 1'000;
  run.job.stages = random.between(1, 5);
  run.job.microbatches = random.between(1, 16);
  run.job.steps = random.between(1, 20);
  run.job.slots = random.between(1, 4);
  run.job.validation_every = random.chance(0.5) ? random.between(1, 3) : 0;
  run.job.deterministic = random.chance(0.5);
  run.job.tied = random.chance(0.3);
  run.job.gradient_scale = random.chance(0.5) ? "visited" : "step";

  run.options.seed = random.next();
  run.options.nodes_without_data = static_cast<std::size_t>(random.between(0, 5));
  run.options.chunk_bytes = random.chance(0.3) ? 1 << 20 : 4 * random.between(1, 4);
  run.options.slot_deadline_us = random.between(20, 500) * ms;
  run.options.fake.exact_sums = random.chance(0.5);
  run.options.fake.non_finite_step = random.chance(0.1) ? 2 : 0;
  for (std::size_t i = 0; i < run.options.nodes; ++i) {
    run.options.speeds.push_back(random.chance(0.2) ? 0.2 : 0.5 + 1.5 * random.uniform());
  }

  net::SimLinkOptions& link = run.options.link;
  link.delay_us_max = link.delay_us_min + random.between(0, 50) * ms;
  if (random.chance(0.3)) link.bytes_per_us = 0.05 + random.uniform();
  if (random.chance(0.6)) {
    link.loss = 0.05 * random.uniform();
    link.repetition = 0.05 * random.uniform();
    link.overtaking = 0.2 * random.uniform();
    link.clog = 0.01 * random.uniform();
    link.clog_us_max = 1 * second;
  }
  if (random.chance(0.4)) {
    for (std::int64_t i = random.between(1, 3); i > 0; --i) {
      const std::int64_t from_us = random.between(0, 12'000) * ms;
      run.cuts.push_back({from_us, from_us + random.between(10, 2'000) * ms,
                          static_cast<std::size_t>(random.between(0, 5)),
                          static_cast<std::size_t>(random.between(0, 5))});
    }
  }
  if (random.chance(0.3)) run.restarts_us.push_back(random.between(500, 12'000) * ms);
  return run;
}

std::string RandomRun::describe() const {
  std::ostringstream text;
  text << job.stages << " stages, " << job.microbatches << " microbatches, " << job.steps << " steps, "
       << job.slots << " slots, skips " << job.skip_ratio.dump() << " after " << job.warmup_steps << ", "
       << job.max_swaps << " swaps, validation every " << job.validation_every
       << (job.deterministic ? ", deterministic" : "") << (job.tied ? ", tied" : "") << ", scale by "
       << job.gradient_scale << (options.fake.exact_sums ? "" : ", inexact sums") << ", loss "
       << options.link.loss << ", " << cuts.size() << " cuts, " << restarts_us.size() << " restarts";
  return text.str();
}

RunResult run(const RandomRun& drawn) {
  SimCluster cluster(drawn.options);
  cluster.start();
  for (const RandomRun::Cut& cut : drawn.cuts) {
    const bool from_scheduler = cut.a == cut.b;
    cluster.at(cut.from_us, [&cluster, cut, from_scheduler] {
      from_scheduler ? cluster.cut_from_scheduler(cut.a) : cluster.cut(cut.a, cut.b);
    });
    cluster.at(cut.to_us, [&cluster, cut, from_scheduler] {
      from_scheduler ? cluster.heal_to_scheduler(cut.a) : cluster.heal(cut.a, cut.b);
    });
  }
  for (const std::int64_t restart_us : drawn.restarts_us) {
    cluster.at(restart_us, [&cluster] { cluster.restart_scheduler(700 * ms); });
  }

  RunResult result;
  // Nodes join first: a job that comes before them may fail for want of nodes.
  if (!cluster.run_until_joined(drawn.options.nodes)) result.problems.push_back("not all nodes joined");
  const std::string job = cluster.submit(job_json(drawn.job));
  if (!cluster.run_until_ended(job, job_us_max)) {
    result.problems.push_back("the job did not end in " + std::to_string(job_us_max / second) + " s");
  } else {
    cluster.network().heal_all();
    cluster.run_for(settle_us);
    result.problems = check_done(cluster, job, drawn.options.fake);
  }
  result.trace = cluster.trace();
  result.last_lines = cluster.last_lines();
  return result;
}

RunResult run_with_loss(const RandomRun& drawn) {
  SIDESTEP_ASSERT(drawn.cuts.empty() && drawn.restarts_us.empty());
  net::Random random(drawn.options.seed);
  SimCluster cluster(drawn.options);
  cluster.start();
  RunResult result;
  const auto wrong = [&](const std::string& what) { result.problems.push_back(what); };
  if (!cluster.run_until_joined(drawn.options.nodes)) wrong("not all nodes joined");
  const std::string job = cluster.submit(job_json(drawn.job));
  const scheduler::JobRow* row = nullptr;
  std::set<net::NodeKey> lost;
  bool is_lost = false, may_be_lost = false;  // some stage; with a learner or a plan on its way nobody knows
  const auto judge = [&] {
    const scheduler::Plan plan = std::move(scheduler::parse_plan(row->plan)).value();
    const auto gone = [&](const auto& key) { return lost.contains(key); };
    for (std::uint32_t stage = 0; stage < plan.stage_count(); ++stage) {
      if (!std::ranges::all_of(plan.replicas(stage), gone)) continue;
      may_be_lost = true;
      is_lost |= row->offered.is_null() && plan.learners_of(stage).empty();
    }
  };
  for (std::int64_t losses = random.between(1, 3); losses > 0 && !may_be_lost; --losses) {
    const auto before = static_cast<std::uint64_t>(random.between(0, drawn.job.steps - 1));
    if (!cluster.run_until([&] { return has_ended(cluster, job) || has_commit(cluster, job, before); },
                           job_us_max))
      wrong("the job got stuck before a loss");
    cluster.run_for(random.between(0, 200) * ms);
    const auto node = static_cast<std::size_t>(random.between(0, 5));
    row = cluster.job(job);
    if (ended(row->state) || lost.contains(cluster.key(node))) continue;
    cluster.kill(node, random.chance(0.5));
    lost.insert(cluster.key(node));
    judge();
  }
  row = cluster.job(job);
  if (!cluster.run_until_ended(job, is_lost ? loss_us_max : job_us_max))
    wrong(is_lost ? "the job did not end in 6 s after the loss of a stage"
                  : "the job got stuck after a loss");
  cluster.run_for(settle_us);
  const bool done = row->state == scheduler::JobState::done;
  // A last commit may be on its way when the last replica is lost.
  if (may_be_lost && !done && row->reason.find("no replica left") == std::string::npos)
    wrong("ended for another reason: " + row->reason);
  if (!may_be_lost && !done) wrong("not done: " + row->reason);
  if (done && !may_be_lost) {
    for (const std::string& problem : check_done(cluster, job, drawn.options.fake)) wrong(problem);
  } else {
    for (const std::string& problem : cluster.violations()) wrong(problem);
    for (const std::string& problem :
         check_record(job_spec(drawn.job), cluster.plans_and_offers(job), cluster.record(job), done))
      wrong(problem);
  }
  result.trace = cluster.trace();
  result.last_lines = cluster.last_lines();
  return result;
}

}  // namespace sidestep::sim
