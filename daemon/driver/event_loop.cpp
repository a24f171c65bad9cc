#include "daemon/driver/event_loop.h"

#include <boost/asio/post.hpp>
#include <csignal>
#include <cstdlib>

namespace sidestep::driver {

EventLoop::EventLoop(std::int64_t tick_us, Event on_tick, std::function<void(int)> on_signal)
    : tick_us_(tick_us), on_tick_(std::move(on_tick)), on_signal_(std::move(on_signal)) {
  signals_.add(SIGINT);
  signals_.add(SIGTERM);
}

void EventLoop::handle(Event event) {
  events_.push_back(std::move(event));
  if (handling_) return;
  handling_ = true;
  while (!events_.empty() && !finished_) {
    const Event next = std::move(events_.front());
    events_.pop_front();
    next();
  }
  events_.clear();
  handling_ = false;
}

void EventLoop::post_from_thread(Event event) {
  boost::asio::post(io_, [this, event = std::move(event)]() mutable { handle(std::move(event)); });
}

void EventLoop::run() {
  arm_tick();
  await_signal();
  io_.run();
}

void EventLoop::finish(std::int64_t linger_us) {
  if (finished_) return;
  finished_ = true;
  tick_timer_.cancel();
  end_timer_.expires_after(std::chrono::microseconds(linger_us));
  end_timer_.async_wait([this](const boost::system::error_code&) { io_.stop(); });
}

void EventLoop::arm_tick() {
  tick_timer_.expires_after(std::chrono::microseconds(tick_us_));
  tick_timer_.async_wait([this](const boost::system::error_code& problem) {
    if (problem || finished_) return;
    handle(on_tick_);
    arm_tick();
  });
}

void EventLoop::await_signal() {
  signals_.async_wait([this](const boost::system::error_code& problem, int signal) {
    if (problem) return;
    if (signalled_) std::_Exit(128 + signal);
    signalled_ = true;
    handle([this, signal] { on_signal_(signal); });
    await_signal();
  });
}

}  // namespace sidestep::driver
