#include "daemon/core/node_core.h"

#include <algorithm>

#include "daemon/core/node_state.h"
#include "net/clock.h"

namespace sidestep::daemon {

using net::Channel;
using net::NodeKey;

namespace {

constexpr std::uint32_t probe_reply_bytes_max = 1 << 16;  // every daemon takes so much

}  // namespace

bool NodeCore::State::is_repeat(const net::Envelope& envelope) {
  if (envelope.id == 0) return false;
  if (envelope.boot != scheduler_boot) {
    scheduler_boot = envelope.boot;
    scheduler_ids.clear();
  }
  return !scheduler_ids.insert(envelope.id).second;
}

void NodeCore::State::on_control(std::int64_t now_us, const NodeKey& peer, const net::Envelope& envelope) {
  if (peer != options.scheduler) {
    log(now_us, net::LogLevel::warning, std::nullopt,
        "dropped " + std::string(net::name_of(envelope.message)) + " from " + peer.short_name() +
            ": it is not the scheduler");
    return;
  }
  if (const auto* ack = std::get_if<net::Ack>(&envelope.message)) {
    control.on_ack(peer, *ack);
    return;
  }
  // Orders come from the scheduler that is followed, not from a copy or an older run of it. One that this
  // node does not follow yet repeats them.
  const bool order = std::holds_alternative<net::PrepareJob>(envelope.message) ||
                     std::holds_alternative<net::StartJob>(envelope.message) ||
                     std::holds_alternative<net::EndJob>(envelope.message) ||
                     std::holds_alternative<net::AdoptPlan>(envelope.message) ||
                     std::holds_alternative<net::Released>(envelope.message) ||
                     std::holds_alternative<net::Vanish>(envelope.message) ||
                     std::holds_alternative<net::TakeSnapshot>(envelope.message) ||
                     std::holds_alternative<net::SealCheckpoint>(envelope.message) ||
                     std::holds_alternative<net::Guests>(envelope.message);
  if (order && (!membership.is_member() || envelope.boot != membership.scheduler_boot())) return;
  std::vector<net::Send> sends;
  control.acknowledge(peer, Channel::control, envelope, sends);
  send_all(std::move(sends));
  if (is_repeat(envelope)) return;
  std::visit(
      [&](const auto& message) {
        if constexpr (requires { take(now_us, message); })
          take(now_us, message);
        else
          log(now_us, net::LogLevel::warning, std::nullopt,
              "dropped " + std::string(net::name_of(envelope.message)) +
                  " from the scheduler: not for a node");
      },
      envelope.message);
}

void NodeCore::State::on_data(std::int64_t now_us, const NodeKey& peer, const net::Envelope& envelope) {
  if (const auto* ack = std::get_if<net::Ack>(&envelope.message)) {
    data.on_ack(peer, *ack, [&](const net::Courier::Arrived& arrived) {
      links.round_trip(peer, arrived.tensor_bytes, now_us - arrived.sent_us);
    });
    std::vector<net::Send> sends;
    data.go_on(now_us, peer, sends);
    send_all(std::move(sends));
    return;
  }
  if (const auto* request = std::get_if<net::SliceRequest>(&envelope.message))
    return slices.on_request(peer, envelope.boot, *request);
  if (const auto* probe = std::get_if<net::Probe>(&envelope.message)) {
    if (is_guest(peer) || is_member(peer)) answer_probe(peer, *probe);
    return;
  }
  if (const auto* reply = std::get_if<net::ProbeReply>(&envelope.message))
    return preparation.on_reply(now_us, peer, *reply);
  if (const auto* slice = std::get_if<net::Slice>(&envelope.message)) {
    if (run && run->job() == slice->job) run->on_slice(now_us, peer, *slice);
    return;
  }
  if (is_guest(peer)) {
    log(now_us, net::LogLevel::warning, std::nullopt,
        "dropped " + std::string(net::name_of(envelope.message)) + " from guest " + peer.short_name() +
            ": not for guests");
    return;
  }
  const net::Scope* scope = scope_of(envelope.message);
  if (!scope) {
    log(now_us, net::LogLevel::warning, std::nullopt,
        "dropped " + std::string(net::name_of(envelope.message)) + " from " + peer.short_name() +
            ": not for a data socket");
    return;
  }
  const bool mine = run && run->job() == scope->job;
  // A job or plan that this node has not heard of yet may start any moment: the sender repeats.
  const auto ended = ended_jobs.find(scope->job);
  if (!mine && (ended == ended_jobs.end() || scope->epoch > ended->second)) return;
  if (mine && !run->on_data(now_us, peer, envelope.message)) return;
  std::vector<net::Send> sends;
  data.acknowledge(peer, Channel::data, envelope, sends);
  send_all(std::move(sends));
}

void NodeCore::State::follow(std::int64_t now_us, const Membership::Outcome& outcome) {
  for (const auto& [level, text] : outcome.lines) log(now_us, level, std::nullopt, text);
  if (outcome.view_changed) {
    set_peers();
    data.drop_if([&](const NodeKey& peer, const net::Message&) { return !is_member(peer); });
    links.keep(membership.view().members);
  }
  if (outcome.excluded) drop_job(now_us);
  if (outcome.joined) {
    if (leave) ask_to_leave(now_us);
    if (run) {
      repeat_faults(now_us);
      run->tell_measured();
    }
    std::vector<net::Send> sends;
    control.hurry(now_us, options.scheduler, sends);
    send_all(std::move(sends));
  }
}

void NodeCore::State::answer_probe(const NodeKey& peer, const net::Probe& probe) {
  if (probe.reply_bytes > probe_reply_bytes_max) return;
  std::vector<net::Send> sends;
  data.send_once(peer, Channel::data,
                 net::ProbeReply{probe.number,
                                 {net::DType::uint8,
                                  {static_cast<std::int64_t>(probe.reply_bytes)},
                                  net::Payload::from_bytes(std::vector<std::byte>(probe.reply_bytes))}},
                 sends);
  send_all(std::move(sends));
}

bool NodeCore::State::is_member(const NodeKey& peer) const {
  const auto& members = membership.view().members;
  return std::any_of(members.begin(), members.end(), [&](const auto& member) { return member.key == peer; });
}

bool NodeCore::State::is_guest(const NodeKey& peer) const {
  return std::any_of(guests.guests.begin(), guests.guests.end(),
                     [&](const auto& guest) { return guest.key == peer; }) &&
         !is_member(peer);
}

NodeCore::NodeCore(NodeOptions options) : state_(std::make_unique<State>(std::move(options))) {}
NodeCore::~NodeCore() = default;

void NodeCore::on_start(std::int64_t now_us, NodeOutbox& out) {
  state_->out = &out;
  state_->log(now_us, net::LogLevel::info, std::nullopt,
              "started as " + state_->options.nickname + ", key " + state_->options.key.hex() +
                  ", data address " + state_->options.data_address + ", " + state_->options.resources.device +
                  ", " + std::to_string(state_->options.resources.threads) + " threads");
  on_tick(now_us, out);
}

void NodeCore::on_message(std::int64_t now_us, const NodeKey& peer, Channel channel,
                          const net::Envelope& envelope, NodeOutbox& out) {
  if (state_->stopping) return;
  state_->out = &out;
  if (channel == Channel::control)
    state_->on_control(now_us, peer, envelope);
  else
    state_->on_data(now_us, peer, envelope);
  if (state_->run) state_->run->pump(now_us);
}

void NodeCore::on_tick(std::int64_t now_us, NodeOutbox& out) {
  if (state_->stopping) return;
  state_->out = &out;
  Membership::Outcome outcome;
  std::vector<net::Send> sends;
  if (auto message = state_->membership.on_tick(now_us, state_->progress(), outcome))
    state_->control.send_once(state_->options.scheduler, Channel::control, std::move(*message), sends);
  if (state_->membership.is_member()) {
    state_->shipper.on_tick(now_us, state_->options.scheduler, state_->control, sends);
    state_->control.on_tick(now_us, sends);
  }
  state_->data.on_tick(now_us, sends);
  state_->preparation.on_tick(now_us);
  state_->send_all(std::move(sends));
  state_->follow(now_us, outcome);
  if (state_->run) state_->run->on_tick(now_us);
  if (state_->run) state_->run->pump(now_us);
  if (state_->leave && now_us >= state_->leave->by_us)
    state_->stop(now_us, state_->leave->reason + "; its stages were not handed over in time");
}

void NodeCore::on_completion(std::int64_t now_us, const Completion& completion, NodeOutbox& out) {
  if (state_->stopping) return;
  state_->out = &out;
  state_->desk.on_completion(now_us, completion, out);
  if (state_->run) state_->run->pump(now_us);
}

void NodeCore::on_note(std::int64_t now_us, net::LogLevel level, const std::string& text, NodeOutbox& out) {
  state_->out = &out;
  state_->log(now_us, level, std::nullopt, text);
}

void NodeCore::on_stop(std::int64_t now_us, const std::string& reason, std::int64_t grace_us,
                       NodeOutbox& out) {
  state_->out = &out;
  if (grace_us <= 0 || state_->leave || !state_->run) return state_->stop(now_us, reason);
  state_->leave = State::Leave{reason, now_us + grace_us};
  state_->log(now_us, net::LogLevel::info, std::nullopt,
              "leaves: " + reason + "; waits for others to take over, at most " +
                  std::to_string((grace_us + net::second - 1) / net::second) + " s");
  state_->ask_to_leave(now_us);
}

// Another run of the scheduler may not know what the one before has acknowledged.
void NodeCore::State::repeat_faults(std::int64_t now_us) {
  control.drop_if([&](const NodeKey&, const net::Message& message) {
    const auto* fault = std::get_if<net::JobFault>(&message);
    return fault != nullptr && fault->scope.job == run->job();
  });
  for (net::JobFault& fault : run->faults()) post_scheduler(now_us, std::move(fault));
}

void NodeCore::State::ask_to_leave(std::int64_t now_us) {
  control.drop_if([](const NodeKey&, const net::Message& message) {
    return std::holds_alternative<net::Leaving>(message);
  });
  post_scheduler(now_us, net::Leaving{leave->reason, leave->by_us - now_us});
}

void NodeCore::State::stop(std::int64_t now_us, const std::string& reason) {
  log(now_us, net::LogLevel::info, std::nullopt, "stops: " + reason);
  std::vector<net::Send> sends;
  shipper.on_tick(now_us, options.scheduler, control, sends);
  control.send_once(options.scheduler, Channel::control, net::Goodbye{reason}, sends);
  send_all(std::move(sends));
  stopping = true;
  out->push_back(Stop{0, reason, false});
}

void NodeCore::check_invariants() const {
  if (state_->run) state_->run->check_invariants();
}

}  // namespace sidestep::daemon
