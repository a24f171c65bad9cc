// The mind of the path-scheduling service: who is alive (views), which job runs, where its stages are and
// which way its microbatches go. Events in, actions out; no socket, thread, clock or file inside.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "net/bus.h"
#include "net/courier.h"
#include "net/messages.h"
#include "scheduler/admissions.h"
#include "scheduler/placement.h"
#include "scheduler/store.h"

namespace sidestep::scheduler {

struct SchedulerOptions {
  net::NodeKey key;
  net::BootId boot = 0;
  std::set<net::NodeKey> nodes;      // of the config: may run daemons
  std::set<net::NodeKey> operators;  // of the config: may submit, cancel, ask, let in and shut out
  std::string advertise;             // "host:port" for invites; empty: whoever invites has to know
  std::int64_t wall_offset_us = 0;   // wall clock minus monotonic clock at start
  std::int64_t heartbeat_us = 200'000;
  std::int64_t closed_dead_us = 500'000;       // a closed connection counts after this
  std::int64_t silent_dead_us = 5'000'000;     // silence counts after this
  std::int64_t prepare_limit_us = 60'000'000;  // how long nodes may take to answer PrepareJob
  std::int64_t start_limit_us = 300'000'000;   // how long nodes may take to make their weights
  std::int64_t finish_limit_us = 600'000'000;  // how long nodes may take to apply and save the last commit
  std::int64_t guest_us = 600'000'000;         // an operator may read from nodes this long after asking
  std::uint64_t plan_work = 20'000;            // PlacementRequest::work; small enough for thousands of runs
  net::CourierOptions courier{500'000, 4'000'000};
};

// Do it before any action that follows in the same outbox.
struct Persist {
  StoreChange change;
};

// Read the store, answer with on_query_result of the same id.
struct StartQuery {
  std::uint64_t id = 0;
  StoreQuery query;
};

// Plan beside the core, answer with on_plan of the same id.
struct StartPlanning {
  std::uint64_t id = 0;
  PlacementRequest request;
};

struct WriteLog {
  net::LogLine line;
};

// Whether this key may connect from now on. Everybody else is refused; at the start, everybody is.
struct SetAdmitted {
  net::NodeKey key;
  bool admitted = true;
};

using SchedulerAction = std::variant<net::Send, Persist, StartQuery, StartPlanning, WriteLog, SetAdmitted>;
using SchedulerOutbox = std::vector<SchedulerAction>;

class SchedulerCore {
 public:
  // `saved` is what the store held at start; its term is the one to use now (already raised and stored).
  SchedulerCore(SchedulerOptions options, SavedState saved);
  ~SchedulerCore();
  SchedulerCore(const SchedulerCore&) = delete;
  SchedulerCore& operator=(const SchedulerCore&) = delete;

  // Once, first.
  void on_start(std::int64_t now_us, SchedulerOutbox& out);
  void on_message(std::int64_t now_us, const net::NodeKey& peer, const net::Envelope& envelope,
                  SchedulerOutbox& out);
  // The peer's connection was closed by its side.
  void on_disconnect(std::int64_t now_us, const net::NodeKey& peer, SchedulerOutbox& out);
  // At least every 50 ms.
  void on_tick(std::int64_t now_us, SchedulerOutbox& out);
  void on_query_result(std::int64_t now_us, std::uint64_t id, const StoreRows& rows, SchedulerOutbox& out);
  void on_plan(std::int64_t now_us, std::uint64_t id, const Result<Plan>& plan, SchedulerOutbox& out);
  void on_note(std::int64_t now_us, net::LogLevel level, const std::string& text, SchedulerOutbox& out);

  // Aborts when an invariant does not hold; the simulator calls it after every event.
  void check_invariants() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sidestep::scheduler
