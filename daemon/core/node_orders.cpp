// What the scheduler says to a node.
#include <algorithm>

#include "daemon/core/node_state.h"
#include "net/clock.h"

namespace sidestep::daemon {

void NodeCore::State::take(std::int64_t now_us, const net::Welcome& m) {
  refused_us.reset();
  follow(now_us, membership.on_welcome(now_us, m));
}

void NodeCore::State::take(std::int64_t now_us, const net::ViewUpdate& m) {
  follow(now_us, membership.on_view(m));
}

void NodeCore::State::take(std::int64_t now_us, const net::HeartbeatReply& m) {
  if (run && m.commit && m.job == run->job()) run->on_stored(*m.commit);
  if (run && m.job == run->job()) run->want_times_every(m.times_every);
  follow(now_us, membership.on_heartbeat_reply(now_us, m));
}

void NodeCore::State::take(std::int64_t now_us, const net::Refusal& m) {
  if (!refused_us && !m.is_final) {
    refused_us = now_us;
    log(now_us, net::LogLevel::warning, std::nullopt,
        "the scheduler refuses this node: " + m.reason + "; tries again for " +
            std::to_string(options.refusal_patience_us / net::second) + " s");
  }
  if (!m.is_final && now_us - *refused_us < options.refusal_patience_us) return;
  log(now_us, net::LogLevel::error, std::nullopt, "the scheduler refuses this node: " + m.reason);
  stopping = true;
  out->push_back(Stop{1, "the scheduler refuses this node: " + m.reason});
}

// A list that was overtaken by a newer one of the same run of the scheduler means nothing.
void NodeCore::State::take(std::int64_t, const net::Guests& m) {
  const bool same_run = guests_boot == membership.scheduler_boot();
  if (same_run && m.number < guests.number) return;
  guests_boot = membership.scheduler_boot();
  const bool changed = m.guests != guests.guests;
  guests = m;
  if (changed) set_peers();
}

void NodeCore::State::take(std::int64_t now_us, const net::PrepareJob& m) {
  std::vector<net::NodeKey> peers;
  for (const net::Member& member : membership.view().members)
    if (member.key != options.key) peers.push_back(member.key);
  preparation.begin(now_us, m, peers);
}

void NodeCore::State::take(std::int64_t now_us, const net::StartJob& m) {
  Result<scheduler::JobSpec> spec = scheduler::parse_job(m.spec, m.job);
  Result<scheduler::Plan> plan = scheduler::parse_plan(m.plan);
  const bool mine = run && run->job() == m.job;
  std::string problem = !spec.ok() ? spec.status().message() : !plan.ok() ? plan.status().message() : "";
  if (problem.empty()) {
    const auto ended = ended_jobs.find(m.job);
    if (ended != ended_jobs.end() && plan.value().epoch <= ended->second) return;
    // One that does without this node takes effect here too, at its Commit.
    const bool has_part =
        !plan.value().stages(options.key).empty() || !plan.value().lessons(options.key).empty();
    if (!has_part && m.at_commit && !mine) return;  // it does without an earlier run of this node
    if (!has_part && !m.at_commit) problem = "the plan gives this node no stage";
    if (!mine && m.at_commit && plan.value().stages_of.contains(options.key))
      problem = "the plan gives this node a stage that it has not learned";
  }
  if (!problem.empty()) return post_scheduler(now_us, net::JobFault{{m.job, m.view.number, 0, 0}, problem});
  PlanOrder order{std::move(plan).value(), m.view, m.commit, m.at_commit};
  if (mine) return run->on_order(now_us, std::move(order));
  if (run) drop_job(now_us);
  run = std::make_unique<JobRun>(now_us, options, m.job, std::move(spec).value(), std::move(order), ports());
}

void NodeCore::State::take(std::int64_t, const net::AdoptPlan& m) {
  if (run && run->job() == m.job) run->adopt_at_next_commit(m.epoch);
}

void NodeCore::State::take(std::int64_t now_us, const net::TakeSnapshot& m) {
  if (run && run->job() == m.job) return run->ask_for_snapshot(m.keep);
  log(now_us, net::LogLevel::warning, std::nullopt,
      "dropped TakeSnapshot of job " + m.job + ": this node has no part in it");
}

void NodeCore::State::take(std::int64_t now_us, const net::SealCheckpoint& m) {
  if (run && run->job() == m.job) return run->seal_checkpoint(m);
  log(now_us, net::LogLevel::warning, std::nullopt,
      "dropped SealCheckpoint of job " + m.job + ": this node has no part in it");
}

void NodeCore::State::take(std::int64_t now_us, const net::EndJob& m) {
  std::uint64_t& ended = ended_jobs[m.job];
  ended = std::max(ended, m.epoch);
  control.drop_if([&](const net::NodeKey&, const net::Message& message) {
    const auto* fault = std::get_if<net::JobFault>(&message);
    return fault && fault->scope.job == m.job;
  });
  if (!run || run->job() != m.job) return;
  log(now_us, net::LogLevel::info, std::nullopt, m.reason.empty() ? "job done" : "job ended: " + m.reason);
  drop_job(now_us);
  if (leave) stop(now_us, leave->reason);
}

void NodeCore::State::drop_job(std::int64_t now_us) {
  if (!run) return;
  data.drop_if([](const net::NodeKey&, const net::Message&) { return true; });
  desk.abandon();
  slices.forget();
  const std::string job = run->job();
  run.reset();
  desk.queue(
      DropJob{},
      [this, job](std::int64_t now, const Completion& done) {
        if (!done.time_use.empty()) log_about(job, now, net::LogLevel::info, std::nullopt, done.time_use);
      },
      *out);
  preparation.begin_again(now_us);
}

void NodeCore::State::take(std::int64_t now_us, const net::Released& m) {
  stop(now_us, leave ? leave->reason : m.reason);
}

void NodeCore::State::take(std::int64_t now_us, const net::Vanish& m) {
  log(now_us, net::LogLevel::warning, std::nullopt, "dies: " + m.reason);
  stopping = true;
  out->push_back(Stop{1, m.reason, true});
}

}  // namespace sidestep::daemon
