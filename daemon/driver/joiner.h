// Uses an invite: connects to the scheduler with the invite's own key and asks it to let ours in, again and
// again until it answers. Any number of tries by one key are one use.
// Owned and called by the thread that runs the loop.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "net/invite.h"
#include "net/zmq_bus.h"

namespace sidestep::driver {

struct JoinerOptions {
  net::Invite invite;
  std::string address;  // of the scheduler; as a rule the invite's
  net::NodeKey key;     // ours, to be let in
  std::string nickname;
};

class Joiner {
 public:
  static Result<std::unique_ptr<Joiner>> create(boost::asio::io_context& io, JoinerOptions options);

  // At least every 50 ms.
  void on_tick(std::int64_t now_us);
  // Nothing: no answer so far. ok: let in. refused: not, and why.
  const std::optional<Status>& result() const { return result_; }
  // How it stands with the scheduler meanwhile.
  Status standing() const;

 private:
  Joiner(JoinerOptions options, std::unique_ptr<net::ZmqBus> bus);

  JoinerOptions options_;
  std::unique_ptr<net::ZmqBus> bus_;
  net::BootId boot_;
  std::int64_t send_at_us_ = 0;
  std::optional<Status> result_;
};

// The same, waiting for it. Errors also: unavailable, naming the address, after `limit_us` or when
// `interrupted`, which is asked often.
Status join_by_invite(JoinerOptions options, const std::function<bool()>& interrupted,
                      std::int64_t limit_us = 10'000'000);

}  // namespace sidestep::driver
