// An operator's connection to the scheduler: asks, repeats until the answer, and says in what way it
// failed. Blocking; one thread makes, uses and destroys it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "net/invite.h"
#include "net/keys.h"
#include "net/messages.h"
#include "net/status.h"
#include "net/zmq_bus.h"

namespace sidestep::driver {

struct ClientOptions {
  std::string address;                                       // "host:port" of the scheduler
  net::NodeKey scheduler;                                    // its public key
  net::KeyPair key;                                          // the operator's
  std::optional<net::Invite> invite = {};                    // used when the scheduler does not know `key`
  std::function<bool()> interrupted = [] { return false; };  // asked often; true ends every wait
};

class Client {
 public:
  static Result<std::unique_ptr<Client>> create(ClientOptions options);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // The body of the scheduler's Reply. Errors: what the Reply says; unavailable, naming the address, when
  // nothing listens there, when what answers has another key, or when no answer comes within
  // `limit_us`; refused when the scheduler does not know our key.
  Result<nlohmann::json> ask(const std::string& verb, nlohmann::json body,
                             std::int64_t limit_us = 10'000'000);

  // ---- nodes, reached at their data sockets once the scheduler has made us a guest there
  void connect_data(const net::NodeKey& node, const std::string& address);
  void send_data(const net::NodeKey& node, net::Message message);
  // Called within ask() and idle() with what nodes send; none: it is dropped.
  void set_data_handler(std::function<void(const net::NodeKey&, const net::Message&)> handler);
  net::LinkReport data_link(const net::NodeKey& node) const;

  bool interrupted() const;
  // Lets `duration_us` pass, or less when interrupted.
  void idle(std::int64_t duration_us);

  const std::string& address() const;

 private:
  struct State;
  explicit Client(std::unique_ptr<State> state);
  Status join(std::int64_t limit_us);
  std::unique_ptr<State> state_;
};

}  // namespace sidestep::driver
