// Asks the metadata service of a cloud, again and again, whether this instance is about to be taken back.
// Owned and called by the driver's thread; never blocks it.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/driver/http_exchange.h"
#include "daemon/driver/spot_block.h"
#include "daemon/driver/spot_cloud.h"
#include "net/messages.h"

namespace sidestep::driver {

struct SpotWatchOptions {
  std::string cloud;  // a key of spot_clouds()
  std::string endpoint;
  std::int64_t poll_us = 0;  // from the end of one poll to the next
  HttpLimits limits = {};
};

// Precondition: the block was checked, and names a cloud.
SpotWatchOptions spot_watch_options(const SpotBlock& block);

class SpotWatch {
 public:
  // Both are called from the loop.
  struct Handlers {
    // The service began to answer, or stopped: a line for the log, `warning` while it does not. Not once a
    // poll.
    std::function<void(net::LogLevel level, const std::string& text)> standing;
    // A warning comes when it is new. One that names the end is the last call: nothing is asked any more.
    std::function<void(const SpotNotice& notice)> notice;
  };

  // Asks at once.
  SpotWatch(boost::asio::io_context& io, SpotWatchOptions options, Handlers handlers);
  // Nothing is called any more.
  ~SpotWatch();
  SpotWatch(const SpotWatch&) = delete;
  SpotWatch& operator=(const SpotWatch&) = delete;

 private:
  void poll();
  void go_on();
  void ask(const HttpRequest& request, void (SpotWatch::*take_answer)(const HttpAnswer& answer));
  void on_introduction(const HttpAnswer& answer);
  void on_answer(const HttpAnswer& answer);
  // Whether it was the end.
  bool take(const std::optional<SpotNotice>& notice);
  void end_poll(const std::string& problem);

  boost::asio::io_context& io_;
  SpotWatchOptions options_;
  Handlers handlers_;
  const SpotCloud& cloud_;
  boost::asio::ip::tcp::endpoint server_;
  boost::asio::steady_timer timer_;
  std::unique_ptr<HttpExchange> exchange_;     // the last one, on its way or done
  std::string asking_;                         // "GET /latest/..."
  std::vector<SpotQuestion> questions_;        // empty: the introduction comes first
  std::size_t question_ = 0;                   // of this poll
  bool renewed_ = false;                       // the introduction, in this poll
  std::map<std::size_t, std::string> warned_;  // by question: the warning that stands
  std::optional<bool> answers_;                // as said last
  // Gone when we are: a timer that went off just before must not reach us.
  std::shared_ptr<SpotWatch*> self_ = std::make_shared<SpotWatch*>(this);
};

}  // namespace sidestep::driver
