#include "scheduler/scheduler_core.h"

#include <algorithm>

#include "scheduler/scheduler_state.h"

namespace sidestep::scheduler {
namespace {

// A gap between ticks that means that this process did not run (a stopped or suspended machine): nobody could
// be heard meanwhile, so the gap says nothing about the others.
constexpr std::int64_t own_absence_us = 500'000;

}  // namespace

SchedulerCore::State::State(SchedulerOptions o, SavedState saved)
    : options(std::move(o)),
      term(saved.term),
      courier(options.boot, options.courier),
      admissions(options.nodes, options.operators, saved.admissions, saved.invites),
      view(std::move(saved.view)),
      told_view(view.number) {
  for (JobRow& saved_row : saved.jobs) jobs.emplace(saved_row.submission, std::move(saved_row));
}

void SchedulerCore::State::emit(std::vector<net::Send> sends) {
  for (net::Send& one : sends) out->push_back(std::move(one));
}

void SchedulerCore::State::send(const net::NodeKey& peer, net::BootId boot, net::Message message) {
  std::vector<net::Send> sends;
  courier.send_once(peer, net::Channel::control, std::move(message), sends, boot);
  emit(std::move(sends));
}

std::uint64_t SchedulerCore::State::post(const Node& node, net::Message message) {
  std::vector<net::Send> sends;
  courier.post(now_us, node.member.key, net::Channel::control, std::move(message), sends, node.member.boot);
  const std::uint64_t id = sends.back().envelope.id;
  emit(std::move(sends));
  return id;
}

void SchedulerCore::State::acknowledge(const net::NodeKey& peer, const net::Envelope& envelope) {
  std::vector<net::Send> sends;
  courier.acknowledge(peer, net::Channel::control, envelope, sends);
  emit(std::move(sends));
}

void SchedulerCore::State::log(net::LogLevel level, const std::string& job, const std::string& text) {
  net::LogLine line{wall_us(), level, job, std::nullopt, text};
  // Debug lines are for the scheduler's own log: garbage from a peer must not fill the store.
  if (level > net::LogLevel::debug) persist(AppendLogs{{{0, options.key, "scheduler", line}}});
  out->push_back(WriteLog{std::move(line)});
}

void SchedulerCore::State::check_invariants() const {
  SIDESTEP_ASSERT(view.members.size() == nodes.size());
  SIDESTEP_ASSERT(std::equal(view.members.begin(), view.members.end(), nodes.begin(), nodes.end(),
                             [](const net::Member& member, const auto& node) {
                               return member == node.second.member && member.key == node.first;
                             }));
  for (const auto& [submission, one] : jobs) {
    SIDESTEP_ASSERT(one.submission == submission);
    const bool is_active = active && active->id == one.id;
    const bool may_wait = one.state == JobState::queued || ended(one.state);
    SIDESTEP_ASSERT(is_active != may_wait);
    if (one.state != JobState::starting && one.state != JobState::running) continue;
    // A job goes on only with everybody of its plan, until another plan is made or its last commit.
    for (const net::Member& member : one.view.members)
      SIDESTEP_ASSERT(committed_all() || active->planning || active->loss || lives(member));
    SIDESTEP_ASSERT(one.state == JobState::starting || one.commit.has_value());
    SIDESTEP_ASSERT(one.state == JobState::running || !one.commit || one.resumed);
  }
  for (const auto& [id, node] : ending) SIDESTEP_ASSERT(nodes.contains(node));
  if (!active) return;
  for (const net::NodeKey& key : active->unproven) SIDESTEP_ASSERT(active->plan.stages_of.contains(key));
  for (const auto& [key, epoch] : active->gone)
    SIDESTEP_ASSERT(nodes.contains(key) && epoch <= active->plan.epoch);
}

SchedulerCore::SchedulerCore(SchedulerOptions options, SavedState saved)
    : state_(std::make_unique<State>(std::move(options), std::move(saved))) {}
SchedulerCore::~SchedulerCore() = default;

void SchedulerCore::on_start(std::int64_t now_us, SchedulerOutbox& out) {
  State& state = *state_;
  state.now_us = now_us;
  state.out = &out;
  state.let_in_at_start();
  // Commits went on while the scheduler was away: whoever was alive is taken to be, until silence says
  // otherwise.
  for (const net::Member& member : state.view.members) {
    State::Node& node = state.nodes[member.key];
    node.member = member;
    node.heard_us = now_us;
  }
  state.log(net::LogLevel::info, "",
            "scheduler started, term " + std::to_string(state.term) + ", view " +
                std::to_string(state.view.number) + " of " + std::to_string(state.nodes.size()) + " nodes");
  state.resume_active();
}

void SchedulerCore::on_message(std::int64_t now_us, const net::NodeKey& peer, const net::Envelope& envelope,
                               SchedulerOutbox& out) {
  State& state = *state_;
  state.now_us = now_us;
  state.out = &out;
  if (!state.may_say(peer, envelope.message)) return;
  if (const auto node = state.nodes.find(peer);
      node != state.nodes.end() && node->second.member.boot == envelope.boot) {
    node->second.heard = true;
    node->second.heard_us = now_us;
    node->second.closed_us.reset();
  }
  std::visit([&](const auto& message) { state.on(peer, envelope, message); }, envelope.message);
  state.start_next_job();
}

void SchedulerCore::on_disconnect(std::int64_t now_us, const net::NodeKey& peer, SchedulerOutbox& out) {
  State& state = *state_;
  state.now_us = now_us;
  state.out = &out;
  const auto node = state.nodes.find(peer);
  if (node != state.nodes.end() && !node->second.closed_us) node->second.closed_us = now_us;
}

void SchedulerCore::on_tick(std::int64_t now_us, SchedulerOutbox& out) {
  State& state = *state_;
  state.now_us = now_us;
  state.out = &out;
  if (const std::int64_t gap = now_us - state.last_tick_us.value_or(now_us); gap > own_absence_us) {
    for (auto& [key, node] : state.nodes) {
      node.heard_us = std::min(now_us, node.heard_us + gap);
      if (node.closed_us) node.closed_us = std::min(now_us, *node.closed_us + gap);
    }
    state.log(net::LogLevel::warning, "",
              "this scheduler did not run for " + std::to_string(gap / 1000) +
                  " ms; silence in that time is not held against any node");
  }
  state.last_tick_us = now_us;
  state.find_deaths();
  if (state.told_view != state.view.number && state.may_tell_view()) state.tell_view();
  state.expire_guests();
  state.plan_when_prepared();
  state.share_out_stages();
  state.ask_again();
  state.end_if_stuck_at_start();
  state.end_if_finished();
  state.lose_stuck_successors();
  state.plan_for_rest();
  state.grow();
  state.release_leaving();
  state.start_next_job();
  std::vector<net::Send> sends;
  state.courier.on_tick(now_us, sends);
  state.emit(std::move(sends));
}

void SchedulerCore::on_plan(std::int64_t now_us, std::uint64_t id, const Result<Plan>& plan,
                            SchedulerOutbox& out) {
  State& state = *state_;
  state.now_us = now_us;
  state.out = &out;
  if (!state.active || state.active->planning != id) return;  // the job ended, or is planned anew
  state.active->planning.reset();
  if (state.active->growth)
    state.on_plan_of_change(plan);
  else if (!plan.ok() && state.row(state.active->id).went_back > 0 &&
           state.row(state.active->id).state == JobState::preparing)
    state.wait_for_nodes(plan.status().message());
  else if (!plan.ok())
    state.end_active(JobState::failed, plan.status().message());
  else if (state.row(state.active->id).state == JobState::preparing)
    state.adopt(plan.value());
  else
    state.adopt_for_rest(plan.value());
  state.start_next_job();
}

void SchedulerCore::on_note(std::int64_t now_us, net::LogLevel level, const std::string& text,
                            SchedulerOutbox& out) {
  state_->now_us = now_us;
  state_->out = &out;
  state_->log(level, "", text);
}

void SchedulerCore::check_invariants() const { state_->check_invariants(); }

}  // namespace sidestep::scheduler
