#include "daemon/driver/http_exchange.h"

#include <array>
#include <boost/asio/ip/address.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <chrono>
#include <cstdio>
#include <utility>

#include "net/address.h"

namespace sidestep::driver {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

namespace {

using Problem = boost::system::error_code;

constexpr int http_1_1 = 11;

Status described(const Problem& problem, const HttpLimits& limits) {
  if (problem == beast::error::timeout) {
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "no answer within %g s",
                  static_cast<double>(limits.time_us) / 1e6);
    return Status::unavailable(text.data());
  }
  if (problem == asio::error::connection_refused) return Status::unavailable("nothing listens there");
  if (problem == http::error::body_limit || problem == http::error::header_limit)
    return Status::invalid("the answer is larger than " + std::to_string(limits.bytes_max) + " bytes");
  if (problem == http::error::end_of_stream || problem == http::error::partial_message)
    return Status::unavailable("the connection was closed before the end of the answer");
  if (problem.category() == http::make_error_code(http::error::bad_version).category())
    return Status::invalid("the answer is not HTTP: " + problem.message());
  return Status::unavailable(problem.message());
}

}  // namespace

Result<asio::ip::tcp::endpoint> parse_endpoint(const std::string& address) {
  const auto parsed = net::parse_address(address, net::AddressUse::connect);
  if (!parsed.ok()) return parsed.status();
  std::string host = parsed.value().host;
  if (parsed.value().is_ipv6()) host = host.substr(1, host.size() - 2);
  Problem problem;
  const asio::ip::address number = asio::ip::make_address(host, problem);
  if (problem)
    return Status::invalid("address \"" + address + "\": the host must be a number, such as 169.254.169.254");
  return asio::ip::tcp::endpoint(number, parsed.value().port);
}

struct HttpExchange::State : std::enable_shared_from_this<HttpExchange::State> {
  State(asio::io_context& io, const HttpLimits& given, Done call)
      : limits(given), done(std::move(call)), stream(io) {
    parser.header_limit(given.bytes_max);
    parser.body_limit(given.bytes_max);
  }

  void start(const asio::ip::tcp::endpoint& server) {
    stream.expires_after(std::chrono::microseconds(limits.time_us));
    stream.async_connect(server, [self = shared_from_this()](const Problem& problem) {
      if (problem) return self->fail(problem);
      self->send();
    });
  }

  void send() {
    http::async_write(stream, request, [self = shared_from_this()](const Problem& problem, std::size_t) {
      if (problem) return self->fail(problem);
      self->receive_header();
    });
  }

  // On its own: where header and body come together, Beast 1.74 does not hold the announced length against
  // the limit.
  void receive_header() {
    http::async_read_header(stream, buffer, parser,
                            [self = shared_from_this()](const Problem& problem, std::size_t) {
                              if (problem) return self->fail(problem);
                              self->receive_body();
                            });
  }

  void receive_body() {
    http::async_read(stream, buffer, parser,
                     [self = shared_from_this()](const Problem& problem, std::size_t) {
                       if (problem) return self->fail(problem);
                       self->finish(HttpAnswer{self->parser.get().result_int(), self->parser.get().body()});
                     });
  }

  void fail(const Problem& problem) { finish(described(problem, limits)); }

  void finish(Result<HttpAnswer> result) {
    stream.close();
    if (const Done call = std::exchange(done, nullptr)) call(std::move(result));
  }

  HttpLimits limits;
  Done done;
  beast::tcp_stream stream;
  beast::flat_buffer buffer;
  http::request<http::empty_body> request;
  http::response_parser<http::string_body> parser;
};

HttpExchange::HttpExchange(asio::io_context& io, const asio::ip::tcp::endpoint& server,
                           const HttpRequest& request, const HttpLimits& limits, Done done)
    : state_(std::make_shared<State>(io, limits, std::move(done))) {
  auto& wire = state_->request;
  wire.version(http_1_1);
  wire.method_string(request.method);
  wire.target(request.target);
  wire.set(http::field::host, server.address().is_v6() ? "[" + server.address().to_string() + "]"
                                                       : server.address().to_string());
  wire.set(http::field::user_agent, "sidestep");
  wire.set(http::field::connection, "close");
  for (const auto& [name, value] : request.headers) wire.set(name, value);
  wire.prepare_payload();
  state_->start(server);
}

HttpExchange::~HttpExchange() {
  state_->done = nullptr;
  state_->stream.close();
}

}  // namespace sidestep::driver
