#include "daemon/core/log_shipper.h"

#include <algorithm>

namespace sidestep::daemon {

void LogShipper::add(net::LogLine line) {
  lines_.push_back(std::move(line));
  while (lines_.size() > lines_max_) {
    lines_.pop_front();
    ++first_;
  }
}

void LogShipper::on_tick(std::int64_t now_us, const net::NodeKey& scheduler, net::Courier& courier,
                         std::vector<net::Send>& out) {
  if (lines_.empty()) return;
  const std::size_t in_flight = courier.count_if(
      [](const net::NodeKey&, const net::Message& m) { return std::holds_alternative<net::LogBatch>(m); });
  if (in_flight >= batches_in_flight_max) return;
  net::LogBatch batch;
  batch.first = first_;
  const std::size_t count = std::min(lines_.size(), batch_lines_max);
  batch.lines.assign(std::make_move_iterator(lines_.begin()),
                     std::make_move_iterator(lines_.begin() + static_cast<std::ptrdiff_t>(count)));
  lines_.erase(lines_.begin(), lines_.begin() + static_cast<std::ptrdiff_t>(count));
  first_ += count;
  courier.post(now_us, scheduler, net::Channel::control, std::move(batch), out);
}

}  // namespace sidestep::daemon
