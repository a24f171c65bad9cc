// The answer to PrepareJob: whether this node can take part in a job, how fast it is at it, and how far the
// others are. Pure; owned by NodeCore.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "daemon/core/link_prober.h"
#include "daemon/core/task_desk.h"

namespace sidestep::daemon {

class Preparation {
 public:
  struct Ports {
    std::function<void(Task, TaskDesk::Done)> queue_task;
    LinkProber::Send send_probe;
    std::function<void(std::int64_t now_us, net::Message)> post_scheduler;
    std::function<void(const std::vector<net::LinkSpeed>&)> links_probed;
  };

  explicit Preparation(Ports ports) : ports_(std::move(ports)), links_(ports_.send_probe) {}

  // `peers`: the other nodes there are. A repeat for the job that is being answered means nothing.
  void begin(std::int64_t now_us, const net::PrepareJob& prepare, const std::vector<net::NodeKey>& peers);
  void on_reply(std::int64_t now_us, const net::NodeKey& peer, const net::ProbeReply& reply) {
    links_.on_reply(now_us, peer, reply);
  }
  void on_tick(std::int64_t now_us) { links_.on_tick(now_us); }
  // The tasks that were queued are gone: whoever waits for an answer gets one all the same.
  void begin_again(std::int64_t now_us);

 private:
  Ports ports_;
  LinkProber links_;
  std::optional<net::PrepareJob> order_;  // being answered
  std::vector<net::NodeKey> peers_;
};

}  // namespace sidestep::daemon
