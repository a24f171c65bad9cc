#include "tests/unit/scheduler/swarm.h"

#include "net/codec.h"

namespace sidestep::scheduler::testing {

nlohmann::json job_json(int stages, int steps) {
  nlohmann::json job = nlohmann::json::parse(R"({
    "name": "job", "steps": 100,
    "model": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4},
    "pipeline": {"stages": 2, "microbatches_per_step": 4},
    "data": {"path": "data/text.txt", "sequence_length": 16},
    "optimizer": {"learning_rate": 0.001},
    "recovery": {"policy": "replica"}
  })");
  job["steps"] = steps;
  job["pipeline"]["stages"] = stages;
  job["model"]["num_hidden_layers"] = 2 * stages;
  return job;
}

RecordStep record_step(std::uint64_t step, const Plan& plan) {
  RecordStep record;
  record.step = step;
  record.epoch = plan.epoch;
  record.view = 1;
  if (step > 0) {
    record.loss = 5.0 / static_cast<double>(step);
    record.tokens = 64;
    record.duration_us = 1000;
    for (const PlannedRoute& route : plan.phase(step).routes)
      record.routes.push_back({route.microbatch, 0, 1.5, route.hops});
  }
  for (std::uint32_t stage = 0; stage < plan.stage_count(); ++stage) {
    RecordStage& entry = record.stages.emplace_back();
    entry.stage = stage;
    entry.norm = 0.5;
    for (const net::NodeKey& node : plan.replicas(stage)) {
      RecordReplica& replica = entry.replicas.emplace_back();
      replica.node = node;
      if (step == 0) continue;
      for (const std::uint32_t microbatch : plan.visits(node, stage, step)) {
        if (stage == 0) replica.added.push_back({microbatch, 0, true});
        replica.added.push_back({microbatch, 0, false});
      }
    }
  }
  return record;
}

Swarm::Swarm(SchedulerOptions given) : options(std::move(given)) {
  options.key = key(250);
  options.boot = 77;
  options.operators.insert(operator_key);
  for (int number = 1; number < 100; ++number) options.nodes.insert(key(number));
  core = std::make_unique<SchedulerCore>(options, store.open_term().value());
  SchedulerOutbox out;
  core->on_start(now_us, out);
  take(out);
}

void Swarm::restart() {
  admitted.clear();
  ++options.boot;
  core = std::make_unique<SchedulerCore>(options, store.open_term().value());
  sends_.clear();
  SchedulerOutbox out;
  core->on_start(now_us, out);
  take(out);
}

void Swarm::take(SchedulerOutbox& out) {
  core->check_invariants();
  // Answers to actions are events of their own, after all actions of this one.
  std::vector<std::function<void(SchedulerOutbox&)>> answers;
  for (SchedulerAction& action : out) {
    if (auto* persist = std::get_if<Persist>(&action)) {
      const Status status = store.apply(persist->change);
      INFO(status.message());
      REQUIRE(status.ok());
    } else if (auto* send = std::get_if<net::Send>(&action)) {
      sends_.push_back(*send);
      if (const auto in = admitted.find(send->peer); in == admitted.end() || !in->second)
        ++sends_to_strangers;
      if (acks_end_job && std::holds_alternative<net::EndJob>(send->envelope.message))
        answers.push_back([this, peer = send->peer, id = send->envelope.id](SchedulerOutbox& next) {
          const int number = peer.bytes[0];
          core->on_message(now_us, peer, {boot(number), 0, net::Ack{options.boot, {id}}}, next);
        });
    } else if (const auto* set = std::get_if<SetAdmitted>(&action)) {
      admitted[set->key] = set->admitted;
    } else if (auto* query = std::get_if<StartQuery>(&action)) {
      answers.push_back([this, id = query->id, rows = store.query(query->query)](SchedulerOutbox& next) {
        core->on_query_result(now_us, id, rows, next);
      });
    } else if (auto* planning = std::get_if<StartPlanning>(&action)) {
      if (hold_plans)
        held_plans.push_back(*planning);
      else
        answers.push_back([this, id = planning->id, plan = place(planning->request)](SchedulerOutbox& next) {
          core->on_plan(now_us, id, plan, next);
        });
    }
  }
  out.clear();
  for (const auto& answer : answers) {
    SchedulerOutbox next;
    answer(next);
    take(next);
  }
}

void Swarm::deliver(const net::NodeKey& peer, const net::Envelope& envelope) {
  // As it would come over the wire: a field that does not travel is not there.
  const Result<net::Envelope> arrived = net::decode(net::encode(envelope));
  INFO(arrived.status().message());
  REQUIRE(arrived.ok());
  SchedulerOutbox out;
  core->on_message(now_us, peer, arrived.value(), out);
  take(out);
}

net::Envelope Swarm::envelope(int number, net::Message message) {
  return {boot(number), next_id_++, std::move(message)};
}

void Swarm::say(int number, net::Message message) {
  deliver(key(number), envelope(number, std::move(message)));
}

void Swarm::hello(int number, std::optional<net::JobProgress> progress, const std::string& device) {
  boots_.try_emplace(number, 1);
  alive_.insert(number);
  progress_[number] = progress;
  say(number, net::Hello{"n" + std::to_string(number),
                         "10.0.0." + std::to_string(number) + ":7001",
                         {1u << 30, 2, device, device == "cpu" ? "cpu-avx2" : "cuda-sm90-132"},
                         progress,
                         now_us + options.wall_offset_us});
}

void Swarm::kill(int number) { alive_.erase(number); }

void Swarm::close(int number) {
  kill(number);
  SchedulerOutbox out;
  core->on_disconnect(now_us, key(number), out);
  take(out);
}

void Swarm::reboot(int number) { ++boots_.at(number); }

void Swarm::run_for_ms(std::int64_t ms) {
  for (const std::int64_t end = now_us + ms * 1000; now_us < end;) {
    now_us += 50'000;
    if (now_us % 200'000 == 0)
      for (const int number : alive_)
        deliver(key(number), {boot(number), 0, net::Heartbeat{1, progress_[number]}});
    SchedulerOutbox out;
    core->on_tick(now_us, out);
    take(out);
  }
}

void Swarm::prepared(int number, net::Prepared answer) {
  if (answer.job.empty()) {
    const auto asked = sent<net::PrepareJob>(number);
    REQUIRE_FALSE(asked.empty());
    answer.job = asked.back().job;
    answer.has_data = true;
    answer.data_digest = "sha256:" + std::string(64, 'a');
    answer.layer_us = answer.head_us = 100;
    answer.memory_bytes = 1u << 30;
  }
  say(number, answer);
}

std::string Swarm::submit(int stages, int steps) {
  const net::Reply reply = ask("submit", {{"spec", job_json(stages, steps)}, {"source", "job.json"}});
  INFO(reply.message);
  REQUIRE(reply.code == Code::ok);
  return reply.body.at("job");
}

void Swarm::commit(std::uint64_t step, std::uint64_t next_epoch) {
  const std::string id = ask("status").body.at("job").at("id");
  const Plan plan = parse_plan(job(id).plan).value();
  say(plan.lead_origin().bytes[0],
      net::CommitReport{{id, 1, plan.epoch, step}, to_json(record_step(step, plan)), "", next_epoch});
}

void Swarm::applied(int number, std::uint64_t step) {
  progress_[number] = net::JobProgress{ask("status").body.at("job").at("id"), 1, step, ""};
  deliver(key(number), {boot(number), 0, net::Heartbeat{1, progress_[number]}});
}

void Swarm::finish() {
  const std::string id = ask("status").body.at("job").at("id");
  const Plan plan = parse_plan(job(id).plan).value();
  const auto last = static_cast<std::uint64_t>(parse_job(job(id).spec, id).value().final_step());
  for (std::uint64_t step = job(id).commit.value_or(0) + 1; step <= last; ++step) commit(step);
  for (const auto& [node, stages] : plan.stages_of) saved(node.bytes[0], last);
  for (const auto& [node, stages] : plan.stages_of) applied(node.bytes[0], last);
}

void Swarm::saved(int number, std::uint64_t step, const std::string& problem) {
  const std::string id = ask("status").body.at("job").at("id");
  const Plan plan = parse_plan(job(id).plan).value();
  for (const std::uint32_t stage : plan.stages_of.at(key(number)))
    say(number, net::SnapshotTaken{{id, 1, plan.epoch, step},
                                   stage,
                                   problem.empty() ? 100u : 0u,
                                   problem.empty() ? "sha256:" + std::to_string(number) : "",
                                   problem});
}

std::string Swarm::start_job(std::vector<int> numbers, int stages, int steps) {
  for (const int number : numbers) join(number);
  const std::string id = submit(stages, steps);
  for (const int number : numbers) prepared(number);
  REQUIRE(state(id) == "starting");
  for (const int number : numbers) progress_[number] = net::JobProgress{id, 1, 0, "step 1"};
  commit(0);
  REQUIRE(state(id) == "running");
  return id;
}

net::Reply Swarm::ask(const std::string& verb, nlohmann::json body) {
  const net::Request request{next_request_++, verb, std::move(body)};
  deliver(operator_key, {5, 0, request});
  for (const net::Send& send : sends_)
    if (const auto* reply = std::get_if<net::Reply>(&send.envelope.message))
      if (send.peer == operator_key && reply->number == request.number) return *reply;
  FAIL("no reply to " << verb);
  return {};
}

JobRow Swarm::job(const std::string& id) const {
  MemoryStore copy = store;
  for (const JobRow& row : copy.open_term().value().jobs)
    if (row.id == id) return row;
  FAIL("no job " << id);
  return {};
}

std::vector<std::uint64_t> Swarm::acked(int number) {
  std::vector<std::uint64_t> ids;
  for (const net::Ack& ack : sent<net::Ack>(number)) ids.insert(ids.end(), ack.ids.begin(), ack.ids.end());
  return ids;
}

}  // namespace sidestep::scheduler::testing
