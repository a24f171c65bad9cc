// What a node driver puts between its core and the world where its config says "emulate": slow links and
// slow tasks, on the driver's loop and by its clock. One thread, that of the loop.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <string>

#include "daemon/driver/emulate.h"
#include "daemon/driver/task_pace.h"
#include "net/emulated_bus.h"

namespace sidestep::driver {

class Emulation {
 public:
  // `io` and `bus` outlive it.
  Emulation(boost::asio::io_context& io, net::Bus& bus, const EmulateBlock& block, std::string nickname);

  // Forwards to the bus that it was made with, over the links of those that were met.
  net::Bus& bus() { return bus_; }
  // The node with that key has that nickname: what is sent to it goes over its link from now on. To be said
  // again after its removal from the bus.
  void meet(const net::NodeKey& peer, const std::string& nickname);

  void on_start(const daemon::Task& task);
  // Calls `heard` with the completion when the emulated node would be done: now or later.
  void on_completion(daemon::Completion completion, std::function<void(const daemon::Completion&)> heard);

 private:
  EmulateBlock block_;
  std::string nickname_;
  boost::asio::steady_timer message_timer_, task_timer_;
  net::EmulatedBus bus_;
  TaskPace pace_;
};

}  // namespace sidestep::driver
