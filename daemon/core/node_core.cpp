#include "daemon/core/node_core.h"

#include <algorithm>
#include <set>

#include "daemon/core/job_run.h"
#include "daemon/core/log_shipper.h"
#include "daemon/core/measures.h"
#include "daemon/core/membership.h"
#include "daemon/core/preparation.h"
#include "daemon/core/slice_server.h"
#include "daemon/core/task_desk.h"
#include "net/clock.h"

namespace sidestep::daemon {

using net::Channel;
using net::NodeKey;

namespace {

constexpr std::uint32_t probe_reply_bytes_max = 1 << 16;  // every daemon takes so much

}  // namespace

struct NodeCore::State {
  explicit State(NodeOptions given)
      : options(std::move(given)),
        control(options.boot, options.control_courier),
        data(options.boot, options.data_courier),
        membership(options),
        shipper(options.log_lines_max),
        slices(slice_ports()),
        preparation(preparation_ports()) {}

  NodeOptions options;
  net::Courier control;
  net::Courier data;
  Membership membership;
  LogShipper shipper;
  TaskDesk desk;
  SliceServer slices;
  Preparation preparation;
  LinkMeasures links;
  std::unique_ptr<JobRun> run;
  std::map<std::string, std::uint64_t> ended_jobs;  // a late StartJob of a plan up to this one means nothing
  // Envelopes of the scheduler's boot that were taken: repeats mean nothing.
  net::BootId scheduler_boot = 0;
  std::set<std::uint64_t> scheduler_ids;
  net::Guests guests;  // as listed last by the run of the scheduler below
  net::BootId guests_boot = 0;
  std::optional<std::int64_t> refused_us;  // first refusal since the last Welcome
  struct Leave {
    std::string reason;
    std::int64_t by_us = 0;
  };
  std::optional<Leave> leave;  // waits for Released
  bool stopping = false;

  NodeOutbox* out = nullptr;  // of the event being handled

  // ---- helpers
  void send_all(std::vector<net::Send> sends) {
    for (net::Send& send : sends) out->push_back(std::move(send));
  }
  void post_scheduler(std::int64_t now_us, net::Message message) {
    std::vector<net::Send> sends;
    control.post(now_us, options.scheduler, Channel::control, std::move(message), sends);
    send_all(std::move(sends));
  }
  void log(std::int64_t now_us, net::LogLevel level, std::optional<std::uint32_t> stage, std::string text) {
    log_about(run ? run->job() : std::string(), now_us, level, stage, std::move(text));
  }
  void log_about(std::string job, std::int64_t now_us, net::LogLevel level,
                 std::optional<std::uint32_t> stage, std::string text) {
    net::LogLine line{now_us + options.wall_offset_us, level, std::move(job), stage, std::move(text)};
    shipper.add(line);
    out->push_back(WriteLog{std::move(line)});
  }
  std::optional<net::JobProgress> progress() const {
    if (!run) return std::nullopt;
    return run->progress();
  }

  // ---- one handler per message kind
  void take(std::int64_t now_us, const net::Welcome& m);
  void take(std::int64_t now_us, const net::Refusal& m);
  void take(std::int64_t now_us, const net::HeartbeatReply& m);
  void take(std::int64_t now_us, const net::ViewUpdate& m);
  void take(std::int64_t now_us, const net::PrepareJob& m);
  void take(std::int64_t now_us, const net::StartJob& m);
  void take(std::int64_t now_us, const net::EndJob& m);
  void take(std::int64_t now_us, const net::AdoptPlan& m);
  void take(std::int64_t now_us, const net::Released& m);
  void take(std::int64_t now_us, const net::TakeSnapshot& m);
  void take(std::int64_t now_us, const net::Guests& m);

  bool is_member(const NodeKey& peer) const;
  bool is_guest(const NodeKey& peer) const;
  void set_peers() { out->push_back(SetPeers{membership.view().members, guests.guests}); }
  void on_control(std::int64_t now_us, const NodeKey& peer, const net::Envelope& envelope);
  void on_data(std::int64_t now_us, const NodeKey& peer, const net::Envelope& envelope);
  void follow(std::int64_t now_us, const Membership::Outcome& outcome);
  void answer_probe(const NodeKey& peer, const net::Probe& probe);
  void drop_job();
  void ask_to_leave(std::int64_t now_us);
  void stop(std::int64_t now_us, const std::string& reason);
  JobRun::Ports ports();
  SliceServer::Ports slice_ports();
  Preparation::Ports preparation_ports();
  bool is_repeat(const net::Envelope& envelope);
};

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
                     std::holds_alternative<net::TakeSnapshot>(envelope.message) ||
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
  if (outcome.excluded) drop_job();
  if (outcome.joined) {
    if (leave) ask_to_leave(now_us);
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

bool NodeCore::State::is_member(const NodeKey& peer) const {
  const auto& members = membership.view().members;
  return std::any_of(members.begin(), members.end(), [&](const auto& member) { return member.key == peer; });
}

bool NodeCore::State::is_guest(const NodeKey& peer) const {
  return std::any_of(guests.guests.begin(), guests.guests.end(),
                     [&](const auto& guest) { return guest.key == peer; }) &&
         !is_member(peer);
}

void NodeCore::State::take(std::int64_t now_us, const net::PrepareJob& m) {
  std::vector<NodeKey> peers;
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
  if (run) drop_job();
  run = std::make_unique<JobRun>(now_us, options, m.job, std::move(spec).value(), std::move(order), ports());
}

void NodeCore::State::take(std::int64_t, const net::AdoptPlan& m) {
  if (run && run->job() == m.job) run->adopt_at_next_commit(m.epoch);
}

JobRun::Ports NodeCore::State::ports() {
  JobRun::Ports ports;
  ports.post_data = [this](std::int64_t now, const NodeKey& to, net::Message message) {
    // It was declared dead, or this node has not heard of it yet.
    const net::Scope* scope = scope_of(message);
    if (scope && scope->view < membership.view().number && !is_member(to)) return;
    std::vector<net::Send> sends;
    data.post(now, to, Channel::data, std::move(message), sends);
    send_all(std::move(sends));
  };
  ports.send_data = [this](const NodeKey& to, net::Message message) {
    std::vector<net::Send> sends;
    data.send_once(to, Channel::data, std::move(message), sends);
    send_all(std::move(sends));
  };
  ports.post_scheduler = [this](std::int64_t now, net::Message message) {
    post_scheduler(now, std::move(message));
  };
  ports.drop_posted = [this](const auto& out_of_date) { data.drop_if(out_of_date); };
  ports.queue_task = [this](Task task, TaskDesk::Done done) {
    desk.queue(std::move(task), std::move(done), *out);
  };
  ports.has_posted = [this] { return data.waiting() > 0; };
  ports.desk_free = [this] { return desk.free(); };
  ports.abandon_tasks = [this] {
    desk.abandon();
    slices.forget();
  };
  ports.log = [this](std::int64_t now, net::LogLevel level, std::optional<std::uint32_t> stage,
                     std::string text) { log(now, level, stage, std::move(text)); };
  ports.times.tell_scheduler = [this](net::Message message) {
    std::vector<net::Send> sends;
    control.send_once(options.scheduler, Channel::control, std::move(message), sends);
    send_all(std::move(sends));
  };
  ports.times.links = [this] { return links.links(); };
  return ports;
}

SliceServer::Ports NodeCore::State::slice_ports() {
  SliceServer::Ports ports;
  ports.queue_task = [this](Task task, TaskDesk::Done done) {
    desk.queue(std::move(task), std::move(done), *out);
  };
  ports.find = [this](const net::SliceRequest& request) {
    return run ? run->read_state(request) : std::nullopt;
  };
  ports.send = [this](const NodeKey& peer, net::BootId boot, net::Message message) {
    std::vector<net::Send> sends;
    data.send_once(peer, Channel::data, std::move(message), sends, boot);
    send_all(std::move(sends));
  };
  return ports;
}

Preparation::Ports NodeCore::State::preparation_ports() {
  Preparation::Ports ports;
  ports.queue_task = [this](Task task, TaskDesk::Done done) {
    desk.queue(std::move(task), std::move(done), *out);
  };
  ports.send_probe = [this](const NodeKey& peer, const net::Probe& probe) {
    std::vector<net::Send> sends;
    data.send_once(peer, Channel::data, probe, sends);
    send_all(std::move(sends));
  };
  ports.post_scheduler = [this](std::int64_t now, net::Message message) {
    post_scheduler(now, std::move(message));
  };
  ports.links_probed = [this](const std::vector<net::LinkSpeed>& probed) { links.probed(probed); };
  return ports;
}

void NodeCore::State::take(std::int64_t now_us, const net::TakeSnapshot& m) {
  if (run && run->job() == m.job) return run->ask_for_snapshot(m.keep);
  log(now_us, net::LogLevel::warning, std::nullopt,
      "dropped TakeSnapshot of job " + m.job + ": this node has no part in it");
}

void NodeCore::State::take(std::int64_t now_us, const net::EndJob& m) {
  std::uint64_t& ended = ended_jobs[m.job];
  ended = std::max(ended, m.epoch);
  control.drop_if([&](const NodeKey&, const net::Message& message) {
    const auto* fault = std::get_if<net::JobFault>(&message);
    return fault && fault->scope.job == m.job;
  });
  if (!run || run->job() != m.job) return;
  log(now_us, net::LogLevel::info, std::nullopt, m.reason.empty() ? "job done" : "job ended: " + m.reason);
  drop_job();
  if (leave) stop(now_us, leave->reason);
}

void NodeCore::State::drop_job() {
  if (!run) return;
  data.drop_if([](const NodeKey&, const net::Message&) { return true; });
  desk.abandon();
  slices.forget();
  preparation.stop();
  const std::string job = run->job();
  run.reset();
  desk.queue(
      DropJob{},
      [this, job](std::int64_t now, const Completion& done) {
        if (!done.time_use.empty()) log_about(job, now, net::LogLevel::info, std::nullopt, done.time_use);
      },
      *out);
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
  const bool needed = state_->run && state_->membership.is_member();
  if (grace_us <= 0 || state_->leave || !needed) return state_->stop(now_us, reason);
  state_->leave = State::Leave{reason, now_us + grace_us};
  state_->log(now_us, net::LogLevel::info, std::nullopt,
              "leaves: " + reason + "; waits for others to take over, at most " +
                  std::to_string((grace_us + net::second - 1) / net::second) + " s");
  state_->ask_to_leave(now_us);
}

void NodeCore::State::ask_to_leave(std::int64_t now_us) {
  control.drop_if([](const NodeKey&, const net::Message& message) {
    return std::holds_alternative<net::Leaving>(message);
  });
  post_scheduler(now_us, net::Leaving{leave->reason, leave->by_us - now_us});
}

void NodeCore::State::take(std::int64_t now_us, const net::Released& m) {
  stop(now_us, leave ? leave->reason : m.reason);
}

void NodeCore::State::stop(std::int64_t now_us, const std::string& reason) {
  log(now_us, net::LogLevel::info, std::nullopt, "stops: " + reason);
  std::vector<net::Send> sends;
  shipper.on_tick(now_us, options.scheduler, control, sends);
  control.send_once(options.scheduler, Channel::control, net::Goodbye{reason}, sends);
  send_all(std::move(sends));
  stopping = true;
  out->push_back(Stop{0, reason});
}

void NodeCore::check_invariants() const {
  if (state_->run) state_->run->check_invariants();
}

}  // namespace sidestep::daemon
