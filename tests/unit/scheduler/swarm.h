// A scheduler with daemons that are played by the test: `Swarm s; s.join(1); s.submit();`. Time moves only
// when the test says so; what the core stores goes into a real MemoryStore, plans are made by the real
// place().
#pragma once

#include <catch2/catch.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "scheduler/memory_store.h"
#include "scheduler/plan.h"
#include "scheduler/record.h"
#include "scheduler/scheduler_core.h"

namespace sidestep::scheduler::testing {

// Node `number`'s key: its first byte is the number, so that keys sort like numbers.
inline net::NodeKey key(int number) {
  net::NodeKey key;
  key.bytes[0] = static_cast<std::uint8_t>(number);
  return key;
}

nlohmann::json job_json(int stages = 2, int steps = 100);

// What a lead origin would report for this step of this plan.
RecordStep record_step(std::uint64_t step, const Plan& plan);

inline const net::NodeKey operator_key = key(200);

class Swarm {
 public:
  explicit Swarm(SchedulerOptions options = {});

  // ---- time, and the scheduler's life
  void run_for_ms(std::int64_t ms);  // ticks every 50 ms; daemons that were not killed send heartbeats
  void restart();                    // the scheduler alone: a new core over the same store
  std::int64_t now_us = 1'000'000;

  // ---- daemons
  void hello(int number, std::optional<net::JobProgress> progress = {}, const std::string& device = "cpu");
  void join(int number, const std::string& device = "cpu") { hello(number, {}, device); }
  void kill(int number);    // its machine is gone: silence
  void close(int number);   // its process is gone: the connection closes too
  void reboot(int number);  // a new boot under the same key; says nothing yet
  void say(int number, net::Message message);
  // Answers PrepareJob as a node with data and memory would.
  void prepared(int number, net::Prepared answer = {});
  // Reports step `step` of the running job as its lead origin; its Commit names the plan `next_epoch`, or
  // none.
  void commit(std::uint64_t step, std::uint64_t next_epoch = 0);
  // The daemon says by a heartbeat that it has applied this commit.
  void applied(int number, std::uint64_t step);
  // The daemon says that it has saved its stages at this commit, or why it has not.
  void saved(int number, std::uint64_t step, const std::string& problem = "");
  // Reports every step that is left, and all daemons of the job apply them and save the last one.
  void finish();
  // Job `id` up to its first commit on daemons that joined.
  std::string start_job(std::vector<int> numbers, int stages = 2, int steps = 100);

  // ---- operators
  net::Reply ask(const std::string& verb, nlohmann::json body = nlohmann::json::object());
  std::string submit(int stages = 2, int steps = 100);
  JobRow job(const std::string& id) const;
  Plan plan_of(const std::string& id) const { return parse_plan(job(id).plan).value(); }
  int holder_of(const std::string& id, std::uint32_t stage) const {  // the first of them
    return plan_of(id).replicas(stage).front().bytes[0];
  }
  std::string state(const std::string& id) const { return std::string(to_string(job(id).state)); }

  // ---- what was sent since the last call
  template <class M>
  std::vector<M> sent(int number) {
    std::vector<M> found;
    for (const net::Send& send : sends_)
      if (send.peer == key(number))
        if (const M* message = std::get_if<M>(&send.envelope.message)) found.push_back(*message);
    std::erase_if(sends_, [&](const net::Send& send) {
      return send.peer == key(number) && std::holds_alternative<M>(send.envelope.message);
    });
    return found;
  }
  // As sent(), and the daemon acknowledges them.
  template <class M>
  std::vector<M> taken(int number) {
    std::vector<std::uint64_t> ids;
    for (const net::Send& send : sends_)
      if (send.peer == key(number) && std::holds_alternative<M>(send.envelope.message))
        ids.push_back(send.envelope.id);
    const std::vector<M> messages = sent<M>(number);
    if (!ids.empty()) deliver(key(number), {boot(number), 0, net::Ack{options.boot, ids}});
    return messages;
  }
  // What the daemon says of itself with each heartbeat from now on.
  void progress(int number, const net::JobProgress& progress) { progress_[number] = progress; }
  // Envelope ids acknowledged to a daemon since the last call.
  std::vector<std::uint64_t> acked(int number);
  void forget_sent() { sends_.clear(); }

  std::uint64_t next_envelope_id() const { return next_id_ + 1; }
  // Sends the envelope as it is, for repeats.
  void deliver(const net::NodeKey& peer, const net::Envelope& envelope);
  net::Envelope envelope(int number, net::Message message);
  net::BootId boot(int number) const { return 1000u * static_cast<net::BootId>(number) + boots_.at(number); }

  MemoryStore store;
  std::unique_ptr<SchedulerCore> core;
  SchedulerOptions options;
  std::map<net::NodeKey, bool> admitted;  // as the core set it last, since its start
  int sends_to_strangers = 0;             // to keys that were not admitted then
  bool hold_plans = false;                // plans are made but not given to the core
  std::vector<StartPlanning> held_plans;
  bool acks_end_job = true;

 private:
  void take(SchedulerOutbox& out);

  std::map<int, net::BootId> boots_;
  std::set<int> alive_;
  std::map<int, std::optional<net::JobProgress>> progress_;
  std::uint64_t next_id_ = 1;
  std::uint64_t next_request_ = 1;
  std::vector<net::Send> sends_;
};

}  // namespace sidestep::scheduler::testing
