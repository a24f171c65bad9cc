// What operators ask.
#include "scheduler/requests.h"

#include <algorithm>

#include "scheduler/json_reader.h"
#include "scheduler/memory.h"
#include "scheduler/options.h"
#include "scheduler/outlook.h"
#include "scheduler/record.h"
#include "scheduler/scheduler_state.h"
#include "scheduler/swarm_support.h"

namespace sidestep::scheduler {
namespace {

// Lines that nodes ship after a job's end still belong to it.
constexpr std::int64_t log_grace_us = 1'500'000;
constexpr std::size_t replies_kept = 256;
constexpr std::uint64_t lines_max = 10'000;
constexpr std::uint64_t steps_max = 1'000;
constexpr std::size_t jobs_named_max = 5;

bool changes_something(std::string_view verb) {
  for (const std::string_view one : {"submit", "cancel", "drain", "kill", "admit", "revoke", "invite"})
    if (verb == one) return true;
  return false;
}

std::string string_of(const nlohmann::json& body, const char* key) {
  const auto it = body.find(key);
  return it != body.end() && it->is_string() ? it->get<std::string>() : std::string();
}

}  // namespace

nlohmann::json line_to_json(const StoredLine& stored) {
  return {{"id", stored.id},
          {"time_us", stored.line.wall_us},
          {"level", to_string(stored.line.level)},
          {"node", stored.node.hex()},
          {"nickname", stored.nickname},
          {"job", stored.line.job},
          {"stage", stored.line.stage ? nlohmann::json(*stored.line.stage) : nlohmann::json()},
          {"text", stored.line.text}};
}

void SchedulerCore::State::on(const net::NodeKey& peer, const net::Envelope& envelope,
                              const net::Request& request) {
  const RequestName name{peer, envelope.boot, request.number};
  if (const auto known = replies.find(name); known != replies.end()) {
    send(peer, envelope.boot, known->second);
    return;
  }
  bool later = false;
  net::Reply reply = answer(peer, envelope, request, later);
  if (later) return;
  reply.number = request.number;
  if (changes_something(request.verb)) {
    replies[name] = reply;
    replies_by_age.push_back(name);
    if (replies_by_age.size() > replies_kept) {
      replies.erase(replies_by_age.front());
      replies_by_age.pop_front();
    }
  }
  send(peer, envelope.boot, std::move(reply));
}

net::Reply SchedulerCore::State::answer(const net::NodeKey& peer, const net::Envelope& envelope,
                                        const net::Request& request, bool& later) {
  const auto reply = [](const Result<nlohmann::json>& result) {
    return result.ok()
               ? net::Reply{0, Code::ok, "", result.value()}
               : net::Reply{0, result.status().code(), result.status().message(), nlohmann::json::object()};
  };
  const auto refuse = [&](Status status) { return reply(std::move(status)); };
  if (admissions.role_of(peer) != Role::operator_) {
    log(net::LogLevel::warning, "",
        "refused \"" + request.verb + "\" from " + peer.hex() + ": not an operator");
    return refuse(Status::refused("key " + peer.hex() +
                                  " is a node's; only operators may ask, with a key of their own"));
  }
  const nlohmann::json body = request.body.is_null() ? nlohmann::json::object() : request.body;
  if (!body.is_object()) return refuse(Status::invalid("the body of a request is a JSON object"));
  if (request.verb == "submit") return reply(submit(body));
  if (request.verb == "cancel") return reply(cancel(body));
  if (request.verb == "drain") return reply(drain(body));
  if (request.verb == "kill") return reply(kill(peer, body));
  if (request.verb == "status") return reply(status(body));
  if (request.verb == "times") return reply(times(body));
  if (request.verb == "export") return reply(find_snapshot(peer, body));
  if (request.verb == "nodes") return reply(nlohmann::json{{"nodes", nodes_json()}});
  if (request.verb == "admit") return reply(admit(peer, body));
  if (request.verb == "revoke") return reply(revoke(peer, body));
  if (request.verb == "invite") return reply(invite(body));
  if (request.verb == "admitted") return reply(nlohmann::json{{"admitted", admitted_json()}});
  if (request.verb == "invites") return reply(nlohmann::json{{"invites", invites_json()}});
  if (request.verb == "jobs") {
    nlohmann::json list = nlohmann::json::array();
    for (const auto& [submission, job] : jobs) list.push_back(summary(job));
    return reply(nlohmann::json{{"jobs", std::move(list)}});
  }
  if (request.verb != "logs" && request.verb != "record")
    return refuse(
        Status::invalid("unknown request \"" + request.verb +
                        "\"; known: submit, jobs, status, times, cancel, drain, nodes, logs, record, "
                        "export, admit, revoke, admitted, invite, invites"));

  PendingQuery pending{peer, envelope.boot, request.number, request.verb, "", 0, 0};
  Result<StoreQuery> query = query_for(request, pending);
  if (!query.ok()) return refuse(query.status());
  later = true;
  const bool asked = std::any_of(queries.begin(), queries.end(), [&](const auto& entry) {
    return entry.second.peer == peer && entry.second.boot == envelope.boot &&
           entry.second.number == request.number;
  });
  if (asked) return {};
  const std::uint64_t id = next_id++;
  queries.emplace(id, std::move(pending));
  out->push_back(StartQuery{id, std::move(query).value()});
  return {};
}

Result<JobRow*> SchedulerCore::State::wanted_job(const nlohmann::json& body) {
  const std::string id = string_of(body, "job");
  if (JobRow* found = find_row(id)) return found;
  if (jobs.empty()) return Status::not_found("no job \"" + id + "\"; none has been submitted yet");
  std::string known;
  std::size_t named = 0;
  for (auto it = jobs.rbegin(); it != jobs.rend() && named < jobs_named_max; ++it, ++named)
    known += (named == 0 ? "" : ", ") + it->second.id;
  return Status::not_found("no job \"" + id + "\"; " +
                           (jobs.size() > jobs_named_max ? "the newest are " : "known: ") + known);
}

Result<nlohmann::json> SchedulerCore::State::submit(const nlohmann::json& body) {
  const auto spec = body.find("spec");
  if (spec == body.end()) return Status::invalid("submit needs \"spec\", the job");
  const std::string source = string_of(body, "source");
  Result<JobSpec> parsed = parse_job(*spec, source.empty() ? "job" : source);
  if (!parsed.ok()) return parsed.status();
  if (Status can = check_for_swarm(parsed.value(), source.empty() ? "job" : source); !can.ok()) return can;
  // "auto" is settled by the devices of those who can take part; who has not greeted may be of either kind.
  const auto fits_as = [&](bool on_gpus) {
    JobSpec counted = parsed.value();
    if (counted.precision == "auto") counted.resolve_precision(on_gpus);
    return check_memory(counted, memory_by_node());
  };
  const bool on_gpus = std::all_of(nodes.begin(), nodes.end(), [](const auto& entry) {
    return !entry.second.greeted || entry.second.resources.device.starts_with("cuda:");
  });
  Status fits = fits_as(on_gpus);
  if (!fits.ok() && !all_greeted()) fits = fits_as(!on_gpus);
  if (!fits.ok()) return fits.with_context(source.empty() ? "job" : source);
  JobRow job;
  job.submission = jobs.empty() ? 1 : jobs.rbegin()->first + 1;
  job.id = parsed.value().name + '-' + std::to_string(job.submission);
  job.spec = to_json(parsed.value());
  job.submitted_us = wall_us();
  const std::string id = job.id;
  save(job);
  jobs.emplace(job.submission, std::move(job));
  log(net::LogLevel::info, id, "job submitted");
  return nlohmann::json{{"job", id}};
}

Result<nlohmann::json> SchedulerCore::State::cancel(const nlohmann::json& body) {
  const Result<JobRow*> found = wanted_job(body);
  if (!found.ok()) return found.status();
  JobRow& job = *found.value();
  if (ended(job.state))
    return Status::refused("job \"" + job.id + "\" has ended already (" + std::string(to_string(job.state)) +
                           ")");
  if (active && active->id == job.id) {
    end_active(JobState::cancelled, "cancelled by an operator");
  } else {
    job.reason = "cancelled by an operator";
    job.ended_us = wall_us();
    set_state(job, JobState::cancelled);
    save(job);
    log(net::LogLevel::info, job.id, "job cancelled while it was queued");
  }
  return nlohmann::json{{"job", job.id}};
}

Result<StoreQuery> SchedulerCore::State::query_for(const net::Request& request, PendingQuery& pending) {
  // Options of a request are read like a file's: wrong ones are told, not guessed.
  std::string job, node, level = "debug";
  std::uint64_t step = 0, after = 0, limit = request.verb == "logs" ? 1'000 : 100;
  bool tail = false;
  OptionTable table;
  table.add("job", job, "which job");
  table.add("after", after, "only what follows this");
  table.add("limit", limit, "at most so many")
      .range(1, static_cast<double>(request.verb == "logs" ? lines_max : steps_max));
  if (request.verb == "logs") {
    table.add("node", node, "nickname or start of a key");
    table.add("level", level, "at least").one_of({"debug", "info", "warning", "error"});
    table.add("tail", tail, "the last ones");
  } else {
    table.add("step", step, "that step only");
  }
  const nlohmann::json body = request.body.is_null() ? nlohmann::json::object() : request.body;
  Problems problems(request.verb);
  table.read(body, problems);
  if (!problems.empty()) return problems.status();
  if (!job.empty() || request.verb == "record") {
    const Result<JobRow*> found = wanted_job(body);
    if (!found.ok()) return found.status();
  }
  pending.job = job;
  pending.after = after;
  pending.limit = limit;
  if (request.verb == "logs")
    return StoreQuery{ReadLogs{job, node, log_level_from_string(level).value(), after, limit, tail}};
  ReadRecord read{job, {}, after, !body.contains("after"), limit};
  if (body.contains("step")) read.step = step;
  return StoreQuery{read};
}

void SchedulerCore::on_query_result(std::int64_t now_us, std::uint64_t id, const StoreRows& rows,
                                    SchedulerOutbox& out) {
  State& state = *state_;
  state.now_us = now_us;
  state.out = &out;
  const auto found = state.queries.find(id);
  if (found == state.queries.end()) return;
  const State::PendingQuery pending = std::move(found->second);
  state.queries.erase(found);
  net::Reply reply{pending.number, rows.status.code(), rows.status.message(), nlohmann::json::object()};
  if (rows.status.ok()) {
    const JobRow* job = state.find_row(pending.job);
    const bool over = job != nullptr && ended(job->state);
    nlohmann::json list = nlohmann::json::array();
    if (pending.verb == "logs") {
      for (const StoredLine& line : rows.lines) list.push_back(line_to_json(line));
      reply.body = {{"lines", std::move(list)},
                    {"next", rows.lines.empty() ? pending.after : rows.lines.back().id},
                    {"ended", over && rows.lines.size() < pending.limit &&
                                  state.wall_us() - job->ended_us >= log_grace_us}};
    } else {
      for (const nlohmann::json& step : rows.steps) list.push_back(step);
      const nlohmann::json next =
          rows.steps.empty() ? nlohmann::json(pending.after) : rows.steps.back().at("step");
      reply.body = {
          {"header", to_json(RecordHeader{pending.job, job == nullptr ? nlohmann::json() : job->spec})},
          {"steps", std::move(list)},
          {"next", next},
          {"ended", over && rows.steps.size() < pending.limit}};
    }
  }
  state.send(pending.peer, pending.boot, std::move(reply));
}

nlohmann::json SchedulerCore::State::summary(const JobRow& job) const {
  nlohmann::json stages = nlohmann::json::array();
  std::uint64_t epoch = 0;
  nlohmann::json predicted;
  const Result<Plan> plan = parse_plan(job.plan);
  if (plan.ok()) {
    epoch = plan.value().epoch;
    const PlanPhase& phase = plan.value().phase(job.commit.value_or(0) + 1);
    if (phase.predicted_step_us > 0) predicted = static_cast<double>(phase.predicted_step_us) / 1e6;
    for (std::uint32_t stage = 0; stage < plan.value().stage_count(); ++stage) {
      nlohmann::json& holders = stages.emplace_back(nlohmann::json::array());
      for (const net::NodeKey& key : plan.value().replicas(stage)) holders.push_back(key.hex());
    }
  }
  nlohmann::json eta, steps, precision, recovery;
  if (const Result<JobSpec> spec = parse_job(job.spec, job.id); spec.ok()) {
    if (plan.ok() && !ended(job.state))
      recovery = {{"policy", spec.value().recovery.policy},
                  {"outlook", describe(outlook(spec.value(), plan.value(), job.mirrors))}};
    steps = spec.value().steps;
    precision = spec.value().precision;
    const double left = static_cast<double>(spec.value().steps) - static_cast<double>(job.commit.value_or(0));
    if (!ended(job.state) && job.tokens_per_s > 0)
      eta = std::max(0.0, left) * static_cast<double>(spec.value().tokens_per_step()) / job.tokens_per_s;
  }
  return {{"id", job.id},
          {"name", job.spec.value("name", job.id)},
          {"state", to_string(job.state)},
          {"reason", job.reason},
          {"precision", precision},
          {"commit", job.commit ? nlohmann::json(*job.commit) : nlohmann::json()},
          {"steps", steps},
          {"loss", job.loss != 0 ? number_json(job.loss) : nlohmann::json()},
          {"validation_loss", optional_json(job.validation_loss)},
          {"tokens_per_s", number_json(job.tokens_per_s)},
          {"eta_s", eta},
          {"predicted_step_s", predicted},
          {"skipped_updates", job.skipped_updates},
          {"snapshot", job.snapshot ? nlohmann::json(job.snapshot->commit) : nlohmann::json()},
          {"submitted_us", job.submitted_us},
          {"started_us", job.started_us},
          {"ended_us", job.ended_us},
          {"epoch", epoch},
          {"recovery", std::move(recovery)},
          {"recovered", job.recovered},
          {"checkpoint",
           job.checkpoints.empty() ? nlohmann::json() : nlohmann::json(job.checkpoints.back().commit)},
          {"went_back", job.went_back},
          {"stages", std::move(stages)}};
}

// What nodes said of their memory when they joined. Who has the data is asked later; a node that has not
// greeted since the scheduler's restart may have any amount.
std::vector<PlacementNode> SchedulerCore::State::memory_by_node() const {
  std::vector<PlacementNode> list;
  for (const auto& [key, node] : nodes) {
    PlacementNode& one = list.emplace_back();
    one.key = key;
    one.nickname = node.member.nickname;
    one.has_data = true;
    one.memory_bytes = node.greeted ? node.resources.memory_bytes : PlacementNode::unknown_bytes;
  }
  return list;
}

std::uint64_t SchedulerCore::State::memory_of(const net::NodeKey& key) const {
  const auto answer = active->answers.find(key);
  return answer != active->answers.end() && answer->second ? answer->second->memory_bytes
                                                           : nodes.at(key).resources.memory_bytes;
}

// With what the daemon itself takes as far as it has said so; 0 where it holds no stage.
std::uint64_t SchedulerCore::State::held_bytes(const Plan& plan, const net::NodeKey& key) const {
  const auto held = plan.stages_of.find(key);
  if (held == plan.stages_of.end()) return 0;
  std::uint64_t bytes = 0, activations = 0;
  for (const std::uint32_t stage : held->second) {
    MemoryNeed need = memory_need(active->spec, stage, plan.replicas(stage).size());
    need.slots = plan.slots_of.at(key);
    bytes += need.total() - need.activations();
    activations = std::max(activations, need.activations());  // the stages share the slots
  }
  bytes += activations;
  const auto answer = active->answers.find(key);
  return bytes + (answer != active->answers.end() && answer->second ? answer->second->daemon_bytes : 0);
}

std::uint64_t SchedulerCore::State::planned_bytes(const Plan& plan, const net::NodeKey& key) const {
  std::uint64_t bytes = held_bytes(plan, key);
  if (const auto kept = plan.mirrors.find(key); kept != plan.mirrors.end())
    for (const std::uint32_t stage : kept->second) bytes += mirror_bytes(active->spec, stage);
  return bytes;
}

nlohmann::json SchedulerCore::State::nodes_json() const {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [key, node] : nodes) {
    const std::int64_t silent_us = now_us - node.heard_us;
    nlohmann::json stages = nlohmann::json::array();
    if (active)
      if (const auto held = active->plan.stages_of.find(key); held != active->plan.stages_of.end())
        stages = held->second;
    list.push_back({{"key", key.hex()},
                    {"nickname", node.member.nickname},
                    {"address", node.member.data_address},
                    {"device", node.resources.device},
                    {"threads", node.resources.threads},
                    {"memory_bytes", node.resources.memory_bytes},
                    {"memory_planned_bytes", active ? planned_bytes(active->plan, key) : 0},
                    {"memory_used_bytes", node.progress ? node.progress->memory_bytes : 0},
                    {"state", silent_us > silent_shown_us || node.closed_us ? "silent"
                              : node.leaving                                ? "leaving"
                                                                            : "alive"},
                    {"silent_ms", silent_us / 1000},
                    {"job", node.progress ? nlohmann::json(node.progress->job) : nlohmann::json()},
                    {"stages", std::move(stages)},
                    {"activity", node.progress ? node.progress->activity : ""}});
  }
  return list;
}

std::string SchedulerCore::State::waiting_for() const {
  const auto names = [&](const auto& wanted) {
    std::string text;
    for (const auto& [key, node] : nodes)
      if (wanted(key, node)) text += (text.empty() ? "" : ", ") + node.member.nickname;
    return text;
  };
  if (!active) {
    const bool queued = std::any_of(jobs.begin(), jobs.end(),
                                    [](const auto& entry) { return entry.second.state == JobState::queued; });
    if (!queued) return "";
    if (!all_greeted())
      return "nodes that have not come back since the scheduler's restart: " +
             names([](const auto&, const Node& node) { return !node.greeted; });
    return "nodes that still drop the job before: " + names([&](const net::NodeKey& key, const Node&) {
             return std::any_of(ending.begin(), ending.end(),
                                [&](const auto& entry) { return entry.second == key; });
           });
  }
  const auto job = std::find_if(jobs.begin(), jobs.end(),
                                [&](const auto& entry) { return entry.second.id == active->id; });
  SIDESTEP_ASSERT(job != jobs.end());
  if (active->planning) return "the plan";
  if (!active->unplanned.empty()) return "nodes to go on with: " + active->unplanned;
  if (job->second.state == JobState::preparing)
    return "measurements from " + names([&](const net::NodeKey& key, const Node&) {
             const auto answer = active->answers.find(key);
             return answer != active->answers.end() && !answer->second;
           }) +
           at_most(active->deadline_us);
  if (job->second.state == JobState::starting)
    return "the first commit, once all stages have their weights" +
           (active->start_deadline_us ? at_most(*active->start_deadline_us) : "");
  return waiting_while_running();
}

}  // namespace sidestep::scheduler
