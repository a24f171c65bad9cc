// The scheduler's and the operator's side of SimCluster.
#include <algorithm>
#include <cstring>
#include <span>

#include "daemon/simulator/sim_cluster.h"
#include "net/clock.h"
#include "net/digest.h"
#include "recovery/slice_puller.h"

namespace sidestep::sim {

using net::Channel;
using net::NodeKey;
using scheduler::SchedulerOutbox;

namespace {

constexpr std::int64_t request_repeat_us = 500 * net::ms;

// A job is stored at each commit, and plans are large.
void keep_plan(const nlohmann::json& json, std::map<std::uint64_t, scheduler::Plan>& plans) {
  if (json.is_null() || plans.contains(json.at("epoch").get<std::uint64_t>())) return;
  Result<scheduler::Plan> plan = scheduler::parse_plan(json);
  SIDESTEP_ASSERT(plan.ok());
  const std::uint64_t epoch = plan.value().epoch;
  plans.emplace(epoch, std::move(plan).value());
}

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
  options.plan_work = options_.plan_work;
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
  after(random_.between(options_.tick_us_min, options_.tick_us_max), [this, boot] { tick_scheduler(boot); });
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
  const bool history = std::holds_alternative<scheduler::AppendRecord>(persist.change) ||
                       std::holds_alternative<scheduler::AppendLogs>(persist.change);
  if (options_.keep_history || !history) {
    const Status status = store_->apply(persist.change);
    SIDESTEP_ASSERT(status.ok());
  }
  observer_.on_stored(now_us(), persist.change);
  if (const auto* put = std::get_if<scheduler::PutJob>(&persist.change)) {
    jobs_[put->row.id] = put->row;
    keep_plan(put->row.plan, plans_[put->row.id]);
    keep_plan(put->row.plan, offers_[put->row.id]);
    if (!put->row.offered.is_null()) keep_plan(put->row.offered.at("plan"), offers_[put->row.id]);
  }
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
  const std::int64_t took_us =
      options_.planning_us ? options_.planning_us(planning.request) : random_.between(1, 20) * net::ms;
  after(took_us, [this, boot = scheduler_boot_, id = planning.id, plan] {
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
                                   [this](const NodeKey& peer, Channel, const net::Envelope& envelope) {
                                     const auto* slice = std::get_if<net::Slice>(&envelope.message);
                                     if (slice != nullptr && on_slice_) on_slice_(peer, *slice);
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

std::string SimCluster::pull(const nlohmann::json& answer, const nlohmann::json& stage,
                             std::vector<float>& values, std::int64_t end_us) {
  recovery::PullRequest request;
  request.job = answer.at("job").get<std::string>();
  request.commit = answer.at("commit").get<std::uint64_t>();
  request.stage = stage.at("stage").get<std::uint32_t>();
  request.elements = stage.at("elements").get<std::uint64_t>();
  for (const auto& source : stage.at("sources")) {
    const NodeKey key = NodeKey::from_hex(source.at("node").get<std::string>()).value();
    request.sources.push_back({key, source.at("nickname"), source.at("digest")});
    operator_bus_->add_peer(key, Channel::data, source.at("address").get<std::string>());
  }
  values.resize(request.elements);
  // Slices and a window so small that there are many of them, of a real model as of the fake's few numbers.
  const std::uint64_t slice_elements = std::max<std::uint64_t>(2, request.elements / 50);
  recovery::SlicePuller puller(request, {.slice_elements = slice_elements, .window = 2},
                               [&](std::uint64_t begin, std::span<const std::byte> bytes) {
                                 std::memcpy(values.data() + begin, bytes.data(), bytes.size());
                                 return Status();
                               });
  const auto send = [&](const std::vector<recovery::SlicePuller::Outgoing>& outgoing) {
    for (const auto& [to, slice] : outgoing)
      operator_bus_->send(to, Channel::data, {operator_boot_, 0, slice});
  };
  on_slice_ = [&](const NodeKey& peer, const net::Slice& slice) {
    std::vector<recovery::SlicePuller::Outgoing> out;
    puller.on_slice(now_us(), peer, slice, out);
    send(out);
  };
  std::string problem;
  while (problem.empty()) {
    if (puller.failed()) {
      problem = puller.failure().message();
    } else if (puller.complete()) {
      if (net::sha256(std::as_bytes(std::span(values))) == puller.source().digest) break;
      puller.reject("another digest");
    } else if (now_us() >= end_us) {
      problem = "stage " + std::to_string(request.stage) + " was not pulled in time";
    } else {
      std::vector<recovery::SlicePuller::Outgoing> out;
      puller.on_tick(now_us(), out);
      send(out);
      run_until([&] { return puller.complete(); }, 100 * net::ms);
    }
  }
  on_slice_ = {};
  return problem;
}

SimCluster::Export SimCluster::export_job(const std::string& job, std::int64_t bound_us) {
  const std::int64_t end_us = now_us() + bound_us;
  nlohmann::json body = {{"job", job}};
  Export result;
  while (true) {
    const std::optional<net::Reply> reply = ask("export", body, end_us - now_us());
    if (!reply || reply->code != Code::ok) {
      result.problem = reply ? reply->message : "no answer";
      return result;
    }
    if (reply->body.at("ready").get<bool>()) {
      result.commit = reply->body.at("commit").get<std::uint64_t>();
      for (const auto& stage : reply->body.at("stages")) {
        result.problem = pull(reply->body, stage, result.stages.emplace_back(), end_us);
        if (!result.problem.empty()) return result;
      }
      return result;
    }
    body["at_least"] = reply->body.at("at_least");
    run_for(100 * net::ms);
  }
}

}  // namespace sidestep::sim
