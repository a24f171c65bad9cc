// Brings this node's log lines to the scheduler: batches, numbered within the boot, repeated until
// acknowledged. While the scheduler is away the newest lines are kept. Pure; owned by NodeCore.
#pragma once

#include <deque>

#include "net/courier.h"

namespace sidestep::daemon {

class LogShipper {
 public:
  explicit LogShipper(std::uint64_t lines_max) : lines_max_(lines_max) {}

  void add(net::LogLine line);
  // Posts what has gathered, at most one batch at a time, once the scheduler knows us.
  void on_tick(std::int64_t now_us, const net::NodeKey& scheduler, net::Courier& courier,
               std::vector<net::Send>& out);

 private:
  static constexpr std::size_t batch_lines_max = 500;
  static constexpr std::size_t batches_in_flight_max = 4;

  std::uint64_t lines_max_;
  std::uint64_t first_ = 1;  // number of lines_.front()
  std::deque<net::LogLine> lines_;
};

}  // namespace sidestep::daemon
