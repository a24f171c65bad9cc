// The scheduler's and the operator's side of SimCluster.
#include <algorithm>

#include "net/clock.h"
#include "tests/sim/sim_cluster.h"

namespace sidestep::sim {

using net::Channel;
using net::NodeKey;
using scheduler::SchedulerOutbox;

namespace {

constexpr std::int64_t request_repeat_us = 500 * net::ms;

}  // namespace

void SimCluster::start_scheduler() {
  scheduler_boot_ = next_boot_++;
  const net::BootId boot = scheduler_boot_;
  scheduler::SchedulerOptions options;
  options.key = scheduler_key_;
  options.boot = boot;
  for (const Node& node : nodes_) options.nodes.insert(node.key);
  options.operators = {operator_key_};
  options.wall_offset_us = wall_offset_us;
  Result<scheduler::SavedState> saved = store_->open_term();
  SIDESTEP_ASSERT(saved.ok());
  scheduler_ = std::make_unique<scheduler::SchedulerCore>(options, std::move(saved).value());
  scheduler_bus_ = network_.create_bus(scheduler_key_, boot);
  scheduler_bus_->set_handlers({.on_message =
                                    [this](const NodeKey& peer, Channel, const net::Envelope& envelope) {
                                      SchedulerOutbox out;
                                      scheduler_->on_message(now_us(), peer, envelope, out);
                                      perform(std::move(out));
                                    },
                                .on_disconnect =
                                    [this](const NodeKey& peer, Channel) {
                                      SchedulerOutbox out;
                                      scheduler_->on_disconnect(now_us(), peer, out);
                                      perform(std::move(out));
                                    },
                                .on_dropped =
                                    [this](const std::string& what) {
                                      write_trace(std::to_string(now_us()) + " scheduler dropped " + what);
                                    }});
  SchedulerOutbox out;
  scheduler_->on_start(now_us(), out);
  perform(std::move(out));
  tick_scheduler(boot);
}

void SimCluster::tick_scheduler(net::BootId boot) {
  if (!scheduler_ || scheduler_boot_ != boot) return;
  SchedulerOutbox out;
  scheduler_->on_tick(now_us(), out);
  perform(std::move(out));
  after(random_.between(tick_us_min, tick_us_max), [this, boot] { tick_scheduler(boot); });
}

void SimCluster::restart_scheduler(std::int64_t down_us) {
  scheduler_bus_.reset();
  scheduler_.reset();
  write_trace(std::to_string(now_us()) + " scheduler is down");
  after(down_us, [this] { start_scheduler(); });
}

void SimCluster::perform(SchedulerOutbox out) {
  for (const scheduler::SchedulerAction& action : out) {
    std::visit([&](const auto& kind) { perform(kind); }, action);
  }
  scheduler_->check_invariants();
}

void SimCluster::perform(const net::Send& send) {
  if (send.only_boot) {
    scheduler_bus_->send_to_boot(send.peer, *send.only_boot, send.channel, send.envelope);
  } else {
    scheduler_bus_->send(send.peer, send.channel, send.envelope);
  }
}

void SimCluster::perform(const scheduler::Persist& persist) {
  const Status status = store_->apply(persist.change);
  SIDESTEP_ASSERT(status.ok());
  if (const auto* put = std::get_if<scheduler::PutJob>(&persist.change)) jobs_[put->row.id] = put->row;
}

void SimCluster::perform(const scheduler::StartQuery& query) {
  after(net::ms, [this, boot = scheduler_boot_, id = query.id, rows = store_->query(query.query)] {
    if (!scheduler_ || scheduler_boot_ != boot) return;
    SchedulerOutbox out;
    scheduler_->on_query_result(now_us(), id, rows, out);
    perform(std::move(out));
  });
}

void SimCluster::perform(const scheduler::StartPlanning& planning) {
  const Result<scheduler::Plan> plan =
      options_.planner ? options_.planner(planning.request) : scheduler::place(planning.request);
  after(random_.between(1, 20) * net::ms, [this, boot = scheduler_boot_, id = planning.id, plan] {
    if (!scheduler_ || scheduler_boot_ != boot) return;
    SchedulerOutbox out;
    scheduler_->on_plan(now_us(), id, plan, out);
    perform(std::move(out));
  });
}

void SimCluster::perform(const scheduler::WriteLog& log) { note("scheduler", log.line); }

void SimCluster::perform(const scheduler::SetAdmitted& set) {
  if (set.admitted)
    scheduler_bus_->add_peer(set.key, Channel::control, "");
  else
    scheduler_bus_->remove_peer(set.key, Channel::control);
}

// ---- the operator

void SimCluster::start_operator() {
  operator_boot_ = next_boot_++;
  operator_bus_ = network_.create_bus(operator_key_, operator_boot_);
  operator_bus_->add_peer(scheduler_key_, Channel::control, "scheduler:7000");
  operator_bus_->set_handlers({.on_message =
                                   [this](const NodeKey&, Channel, const net::Envelope& envelope) {
                                     if (const auto* reply = std::get_if<net::Reply>(&envelope.message)) {
                                       replies_.emplace(reply->number, *reply);
                                     }
                                   },
                               .on_disconnect = {},
                               .on_dropped = {}});
}

std::optional<net::Reply> SimCluster::ask(const std::string& verb, const nlohmann::json& body,
                                          std::int64_t bound_us) {
  const std::uint64_t number = next_request_++;
  const std::int64_t end_us = now_us() + bound_us;
  while (now_us() < end_us) {
    operator_bus_->send(scheduler_key_, Channel::control,
                        {operator_boot_, 0, net::Request{number, verb, body}});
    if (run_until([&] { return replies_.contains(number); }, request_repeat_us)) return replies_.at(number);
  }
  return std::nullopt;
}

std::string SimCluster::submit(const nlohmann::json& job, std::int64_t bound_us) {
  const std::optional<net::Reply> reply = ask("submit", {{"spec", job}, {"source", "job.json"}}, bound_us);
  if (!reply || reply->code != Code::ok) {
    violations_.push_back("submit: " + (reply ? reply->message : "no answer"));
    return {};
  }
  return reply->body.at("job").get<std::string>();
}

}  // namespace sidestep::sim
