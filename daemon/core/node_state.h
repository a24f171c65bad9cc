// The inside of NodeCore, for the files that make it up: node_core.cpp (events, and what peers say),
// node_orders.cpp (what the scheduler says), node_ports.cpp (how the parts reach each other). Nobody else
// includes this.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "daemon/core/job_run.h"
#include "daemon/core/log_shipper.h"
#include "daemon/core/measures.h"
#include "daemon/core/membership.h"
#include "daemon/core/node_core.h"
#include "daemon/core/preparation.h"
#include "daemon/core/slice_server.h"
#include "daemon/core/task_desk.h"

namespace sidestep::daemon {

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
    control.post(now_us, options.scheduler, net::Channel::control, std::move(message), sends);
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

  // ---- node_orders.cpp: one handler for each message of the scheduler
  void take(std::int64_t now_us, const net::Welcome& m);
  void take(std::int64_t now_us, const net::Refusal& m);
  void take(std::int64_t now_us, const net::HeartbeatReply& m);
  void take(std::int64_t now_us, const net::ViewUpdate& m);
  void take(std::int64_t now_us, const net::PrepareJob& m);
  void take(std::int64_t now_us, const net::StartJob& m);
  void take(std::int64_t now_us, const net::EndJob& m);
  void take(std::int64_t now_us, const net::AdoptPlan& m);
  void take(std::int64_t now_us, const net::Released& m);
  void take(std::int64_t now_us, const net::Vanish& m);
  void take(std::int64_t now_us, const net::TakeSnapshot& m);
  void take(std::int64_t now_us, const net::SealCheckpoint& m);
  void take(std::int64_t now_us, const net::Guests& m);
  void drop_job(std::int64_t now_us);

  // ---- node_core.cpp
  bool is_member(const net::NodeKey& peer) const;
  bool is_guest(const net::NodeKey& peer) const;
  void set_peers() { out->push_back(SetPeers{membership.view().members, guests.guests}); }
  void on_control(std::int64_t now_us, const net::NodeKey& peer, const net::Envelope& envelope);
  void on_data(std::int64_t now_us, const net::NodeKey& peer, const net::Envelope& envelope);
  void follow(std::int64_t now_us, const Membership::Outcome& outcome);
  void answer_probe(const net::NodeKey& peer, const net::Probe& probe);
  void ask_to_leave(std::int64_t now_us);
  void repeat_faults(std::int64_t now_us);
  void stop(std::int64_t now_us, const std::string& reason);
  bool is_repeat(const net::Envelope& envelope);

  // ---- node_ports.cpp: how its parts reach the rest of the node
  JobRun::Ports ports();
  SliceServer::Ports slice_ports();
  Preparation::Ports preparation_ports();
};

}  // namespace sidestep::daemon
