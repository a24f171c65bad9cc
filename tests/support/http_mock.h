// An HTTP server on loopback, with a thread of its own, that answers one request a connection as a test says.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace sidestep::testing {

struct MockRequest {
  std::string method;
  std::string target;
  std::map<std::string, std::string> headers;  // names in lower case
};

struct MockAnswer {
  unsigned status = 200;
  std::string body = {};
  bool silent = false;   // the connection stays open, and nothing comes
  std::string raw = {};  // sent as it is, instead of the above, where not empty
};

class HttpMock {
 public:
  // `answer` is called on the server's thread.
  explicit HttpMock(std::function<MockAnswer(const MockRequest&)> answer);
  ~HttpMock();
  HttpMock(const HttpMock&) = delete;
  HttpMock& operator=(const HttpMock&) = delete;

  // "127.0.0.1:PORT"
  const std::string& address() const { return address_; }

 private:
  void serve();
  void serve_one(int connection);

  std::function<MockAnswer(const MockRequest&)> answer_;
  int listener_ = -1;
  int stop_ = -1;  // readable: the thread ends
  std::string address_;
  std::vector<int> silent_;  // connections
  std::thread thread_;
};

}  // namespace sidestep::testing
