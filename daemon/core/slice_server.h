// The giving half of the bulk transfer: answers requests for slices of snapshots, of the job that runs and of
// ended ones, from the disk or, for nodes that join, from memory. Every request is answered, with a problem
// if need be, unless too many wait already; then the asker's repeat is. Pure; owned by NodeCore.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <tuple>

#include "daemon/core/task_desk.h"

namespace sidestep::daemon {

class SliceServer {
 public:
  struct Ports {
    std::function<void(Task, TaskDesk::Done)> queue_task;
    // That slice, if this node has it in memory.
    std::function<std::optional<net::Tensor>(const net::SliceRequest&)> find;
    // Unacknowledged, to this run of the peer.
    std::function<void(const net::NodeKey& peer, net::BootId boot, net::Message)> send;
  };

  explicit SliceServer(Ports ports) : ports_(std::move(ports)) {}

  void on_request(const net::NodeKey& peer, net::BootId boot, const net::SliceRequest& request);
  // The desk was abandoned: nothing that waits will be answered, its asker repeats.
  void forget() { waiting_.clear(); }

 private:
  // Reading is quick, but nobody may queue without end: the job's own tasks wait behind.
  static constexpr std::size_t waiting_max = 64;
  static constexpr std::uint64_t elements_max = 1 << 20;

  using Name = std::tuple<net::NodeKey, net::BootId, std::string, std::uint64_t, std::uint32_t,
                          net::SnapshotPart, std::uint64_t>;

  void answer(const net::NodeKey& peer, net::BootId boot, const net::SliceRequest& request,
              const std::string& problem, net::Tensor tensor);

  Ports ports_;
  std::set<Name> waiting_;
};

}  // namespace sidestep::daemon
