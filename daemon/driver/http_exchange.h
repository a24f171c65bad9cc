// One HTTP/1.1 request to a server nearby, such as a cloud's metadata service, and its answer. No proxy, no
// redirection, no name lookup: the server is an address.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "net/status.h"

namespace sidestep::driver {

struct HttpRequest {
  std::string method;  // "GET" or "PUT"; without a body
  std::string target;  // "/latest/api/token"
  std::map<std::string, std::string> headers = {};
};

struct HttpAnswer {
  unsigned status = 0;
  std::string body;
};

struct HttpLimits {
  std::int64_t time_us = 2'000'000;   // from connecting to the end of the answer
  std::uint32_t bytes_max = 1 << 16;  // of the answer's headers, and of its body
};

// "169.254.169.254:80" or "[fd00:ec2::254]:80". Errors: invalid; a host name is one.
Result<boost::asio::ip::tcp::endpoint> parse_endpoint(const std::string& address);

// Owned and called by the loop's thread.
class HttpExchange {
 public:
  // Called once, from the loop, with the answer or why there is none: unavailable, when nobody answers
  // within the limits; invalid, when what answers is too much or no HTTP. It may destroy the exchange.
  using Done = std::function<void(Result<HttpAnswer>)>;

  HttpExchange(boost::asio::io_context& io, const boost::asio::ip::tcp::endpoint& server,
               const HttpRequest& request, const HttpLimits& limits, Done done);
  // Nothing is called any more.
  ~HttpExchange();
  HttpExchange(const HttpExchange&) = delete;
  HttpExchange& operator=(const HttpExchange&) = delete;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace sidestep::driver
