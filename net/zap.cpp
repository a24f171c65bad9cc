#include "net/zap.h"

#include <algorithm>
#include <optional>
#include <vector>

namespace sidestep::net {
namespace {

constexpr std::string_view version = "1.0";

// Frames of a request.
enum : std::size_t { request_version, request_id, domain, address, identity, mechanism, credentials };

std::optional<NodeKey> key_in(const std::vector<std::string>& request) {
  NodeKey key;
  if (request.size() != credentials + 1 || request[request_version] != version ||
      request[mechanism] != "CURVE" || request[credentials].size() != key.bytes.size())
    return std::nullopt;
  std::copy(request[credentials].begin(), request[credentials].end(), key.bytes.begin());
  return key;
}

}  // namespace

ZapHandler::ZapHandler(boost::asio::io_context& io, zmq::context_t& context, Judge judge)
    : socket_(context, zmq::socket_type::rep), judge_(std::move(judge)) {
  socket_.set(zmq::sockopt::linger, 0);
  socket_.bind("inproc://zeromq.zap.01");
  pump_ = std::make_unique<Pump>(io, socket_, [this] { return turn(); });
}

bool ZapHandler::turn() {
  zmq::message_t message;
  if (!socket_.recv(message, zmq::recv_flags::dontwait)) return false;
  std::vector<std::string> request{message.to_string()};
  while (message.more() && socket_.recv(message, zmq::recv_flags::dontwait))
    request.push_back(message.to_string());

  const std::optional<NodeKey> key = key_in(request);
  const bool admitted = key && judge_(request[domain], *key, request[address]);
  const std::string id = request.size() > request_id ? request[request_id] : "";
  const std::string code = admitted ? "200" : "400";
  const std::string user_id = admitted ? key->hex() : "";
  for (const std::string& part : {std::string(version), id, code, std::string(), user_id})
    socket_.send(zmq::buffer(part), zmq::send_flags::dontwait | zmq::send_flags::sndmore);
  socket_.send(zmq::message_t(), zmq::send_flags::dontwait);
  return true;
}

}  // namespace sidestep::net
