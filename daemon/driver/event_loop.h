// What both drivers share: an Asio loop that ticks, hears signals and hands out events one at a time.
// One thread owns it and calls everything but post_from_thread().
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <deque>
#include <functional>

namespace sidestep::driver {

class EventLoop {
 public:
  using Event = std::function<void()>;

  // Calls `on_tick` every `tick_us`, as an event, and `on_signal` with the first SIGINT or SIGTERM; a
  // second one ends the process at once.
  EventLoop(std::int64_t tick_us, Event on_tick, std::function<void(int signal)> on_signal);

  boost::asio::io_context& io() { return io_; }

  // Runs the event now or, when called from within one, right after it: a core is never entered twice.
  void handle(Event event);
  // The same from any thread, soon.
  void post_from_thread(Event event);

  // Returns after finish().
  void run();
  // Events after this one are dropped; the loop goes on for `linger_us`, so that what was sent can leave.
  void finish(std::int64_t linger_us);
  bool finished() const { return finished_; }

 private:
  void arm_tick();
  void await_signal();

  boost::asio::io_context io_;
  boost::asio::steady_timer tick_timer_{io_};
  boost::asio::steady_timer end_timer_{io_};
  boost::asio::signal_set signals_{io_};
  std::int64_t tick_us_;
  Event on_tick_;
  std::function<void(int)> on_signal_;
  std::deque<Event> events_;
  bool handling_ = false;
  bool finished_ = false;
  bool signalled_ = false;
};

}  // namespace sidestep::driver
