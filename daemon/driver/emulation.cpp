#include "daemon/driver/emulation.h"

#include <algorithm>

#include "net/clock.h"

namespace sidestep::driver {
namespace {

std::chrono::microseconds until(std::int64_t due_us) {
  return std::chrono::microseconds(std::max<std::int64_t>(0, due_us - net::monotonic_us()));
}

}  // namespace

Emulation::Emulation(boost::asio::io_context& io, net::Bus& bus, const EmulateBlock& block,
                     std::string nickname)
    : block_(block),
      nickname_(std::move(nickname)),
      message_timer_(io),
      task_timer_(io),
      bus_(bus, net::monotonic_us,
           [this](std::int64_t due_us) {
             message_timer_.expires_after(until(due_us));
             message_timer_.async_wait([this](const boost::system::error_code& problem) {
               if (!problem) bus_.on_timer();
             });
           }),
      pace_(block.task_times()) {}

void Emulation::meet(const net::NodeKey& peer, const std::string& nickname) {
  bus_.set_link(peer, net::Channel::data, emulated_link(block_, nickname_, nickname));
}

void Emulation::on_start(const daemon::Task& task) { pace_.on_start(net::monotonic_us(), task); }

void Emulation::on_completion(daemon::Completion completion,
                              std::function<void(const daemon::Completion&)> heard) {
  const std::int64_t now_us = net::monotonic_us();
  const std::int64_t due_us = pace_.on_completion(now_us, completion);
  if (due_us <= now_us) return heard(completion);
  task_timer_.expires_after(until(due_us));
  task_timer_.async_wait([completion = std::move(completion),
                          heard = std::move(heard)](const boost::system::error_code& problem) {
    if (!problem) heard(completion);
  });
}

}  // namespace sidestep::driver
