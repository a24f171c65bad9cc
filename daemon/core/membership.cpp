#include "daemon/core/membership.h"

#include <algorithm>

#include "net/clock.h"
#include "net/heartbeat.h"

namespace sidestep::daemon {
namespace {

constexpr std::int64_t silence_us = 3 * net::second;

}  // namespace

std::string Membership::objection(std::uint64_t term, net::BootId boot) const {
  if (term < term_)
    return "a scheduler of term " + std::to_string(term) + " is not followed, term " + std::to_string(term_) +
           " was seen: stop the older scheduler, or, if its data folder was deleted on purpose, restart this "
           "daemon";
  if (term == term_ && boot != scheduler_boot_ && scheduler_boot_ != 0)
    return "a second scheduler claims term " + std::to_string(term) +
           ": it is a copy of the first one's data folder, stop one of them";
  return {};
}

void Membership::object(std::string why, net::BootId boot, Outcome& outcome) {
  if (boot == objected_) return;
  objected_ = boot;
  outcome.lines.emplace_back(net::LogLevel::error, std::move(why));
}

void Membership::take_view(net::View view, Outcome& outcome) {
  view_ = std::move(view);
  outcome.view_changed = true;
  const bool in_it = std::any_of(view_.members.begin(), view_.members.end(), [&](const auto& m) {
    return m.key == options_.key && m.boot == options_.boot;
  });
  if (in_it) return;
  outcome.excluded = true;
  outcome.lines.emplace_back(
      net::LogLevel::warning,
      "view " + std::to_string(view_.number) + " leaves this node out: it was declared dead, joins anew");
  standing_ = Standing::greeting;
  next_due_us_ = 0;
}

Membership::Outcome Membership::on_welcome(std::int64_t now_us, const net::Welcome& welcome) {
  Outcome outcome;
  if (std::string why = objection(welcome.term, welcome.scheduler_boot); !why.empty()) {
    object(std::move(why), welcome.scheduler_boot, outcome);
    return outcome;
  }
  heard_us_ = now_us;
  silence_logged_ = false;
  const bool repeated = is_member() && welcome.term == term_ && welcome.view.number <= view_.number;
  if (repeated) return outcome;
  const bool first = !is_member();
  term_ = welcome.term;
  scheduler_boot_ = welcome.scheduler_boot;
  heartbeat_us_ = std::max<std::int64_t>(10'000, welcome.heartbeat_us);
  standing_ = Standing::member;
  next_due_us_ = now_us;
  take_view(welcome.view, outcome);
  outcome.joined = first && !outcome.excluded;
  if (outcome.joined)
    outcome.lines.emplace_back(net::LogLevel::info, "joined, view " + std::to_string(view_.number) + " of " +
                                                        std::to_string(view_.members.size()) +
                                                        " nodes, term " + std::to_string(term_));
  return outcome;
}

Membership::Outcome Membership::on_view(const net::ViewUpdate& update) {
  Outcome outcome;
  if (update.term != term_ || update.view.number <= view_.number || !is_member()) return outcome;
  take_view(update.view, outcome);
  return outcome;
}

Membership::Outcome Membership::on_heartbeat_reply(std::int64_t now_us, const net::HeartbeatReply& reply) {
  Outcome outcome;
  if (std::string why = objection(reply.term, reply.scheduler_boot); !why.empty()) {
    object(std::move(why), reply.scheduler_boot, outcome);
    return outcome;
  }
  heard_us_ = now_us;
  if (silence_logged_) {
    silence_logged_ = false;
    outcome.lines.emplace_back(net::LogLevel::info, "the scheduler answers again");
  }
  if (!is_member()) return outcome;
  if (reply.term != term_ || reply.view > view_.number) {
    if (reply.term != term_)
      outcome.lines.emplace_back(net::LogLevel::info,
                                 "the scheduler has restarted, term " + std::to_string(reply.term));
    standing_ = Standing::greeting;
    next_due_us_ = now_us;
  }
  return outcome;
}

std::optional<net::Message> Membership::on_tick(std::int64_t now_us, std::optional<net::JobProgress> progress,
                                                Outcome& outcome) {
  if (heard_us_ != 0 && !silence_logged_ &&
      now_us - heard_us_ >= net::silent_dead_us(silence_us, view_.members.size())) {
    silence_logged_ = true;
    outcome.lines.emplace_back(net::LogLevel::warning,
                               "the scheduler is silent for " +
                                   std::to_string((now_us - heard_us_) / net::ms) +
                                   " ms; commits go on, a lost node cannot be judged meanwhile");
  }
  if (now_us < next_due_us_) return std::nullopt;
  if (!is_member()) {
    next_due_us_ = now_us + options_.hello_repeat_us;
    return net::Hello{options_.nickname, options_.data_address, options_.resources, std::move(progress),
                      now_us + options_.wall_offset_us};
  }
  next_due_us_ = now_us + net::heartbeat_us(heartbeat_us_, view_.members.size());
  return net::Heartbeat{++sequence_, std::move(progress)};
}

}  // namespace sidestep::daemon
