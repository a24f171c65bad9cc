#include "tests/support/http_mock.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cctype>
#include <sstream>

namespace sidestep::testing {
namespace {

constexpr int patience_ms = 5'000;  // for a client that connects and says nothing

// Everything up to the empty line; empty when the client goes before.
std::string read_head(int connection) {
  std::string head;
  std::array<char, 4096> piece;
  while (head.find("\r\n\r\n") == std::string::npos) {
    pollfd watched{connection, POLLIN, 0};
    if (poll(&watched, 1, patience_ms) <= 0) return "";
    const ssize_t got = read(connection, piece.data(), piece.size());
    if (got <= 0) return "";
    head.append(piece.data(), static_cast<std::size_t>(got));
  }
  return head;
}

MockRequest parse_head(const std::string& head) {
  MockRequest request;
  std::istringstream lines(head);
  lines >> request.method >> request.target;
  std::string line;
  std::getline(lines, line);
  while (std::getline(lines, line) && line != "\r") {
    const std::size_t colon = line.find(": ");
    if (colon == std::string::npos) continue;
    std::string name = line.substr(0, colon);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    request.headers[name] = line.substr(colon + 2, line.size() - colon - 3);  // without "\r"
  }
  return request;
}

void write_all(int connection, const std::string& text) {
  std::size_t sent = 0;
  while (sent < text.size()) {
    const ssize_t wrote = send(connection, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (wrote <= 0) return;  // the client has gone
    sent += static_cast<std::size_t>(wrote);
  }
}

}  // namespace

HttpMock::HttpMock(std::function<MockAnswer(const MockRequest&)> answer)
    : answer_(std::move(answer)),
      listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)),
      stop_(eventfd(0, EFD_CLOEXEC)) {
  sockaddr_in place{};
  place.sin_family = AF_INET;
  place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof place;
  REQUIRE(bind(listener_, reinterpret_cast<sockaddr*>(&place), size) == 0);
  REQUIRE(listen(listener_, 16) == 0);
  REQUIRE(getsockname(listener_, reinterpret_cast<sockaddr*>(&place), &size) == 0);
  address_ = "127.0.0.1:" + std::to_string(ntohs(place.sin_port));
  thread_ = std::thread([this] { serve(); });
}

HttpMock::~HttpMock() {
  eventfd_write(stop_, 1);
  thread_.join();
  for (const int fd : silent_) close(fd);
  close(listener_);
  close(stop_);
}

void HttpMock::serve() {
  while (true) {
    std::array<pollfd, 2> watched{{{listener_, POLLIN, 0}, {stop_, POLLIN, 0}}};
    poll(watched.data(), watched.size(), -1);
    if (watched[1].revents != 0) return;
    const int connection = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection >= 0) serve_one(connection);
  }
}

void HttpMock::serve_one(int connection) {
  const std::string head = read_head(connection);
  const MockAnswer answer = head.empty() ? MockAnswer{} : answer_(parse_head(head));
  if (answer.silent) {
    silent_.push_back(connection);
    return;
  }
  write_all(connection, !answer.raw.empty()
                            ? answer.raw
                            : "HTTP/1.1 " + std::to_string(answer.status) + " Mock\r\nContent-Length: " +
                                  std::to_string(answer.body.size()) + "\r\n\r\n" + answer.body);
  close(connection);
}

}  // namespace sidestep::testing
