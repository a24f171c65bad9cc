#include "daemon/driver/client.h"

#include <boost/asio/io_context.hpp>
#include <optional>

#include "daemon/driver/joiner.h"
#include "daemon/driver/link_status.h"
#include "net/clock.h"
#include "net/zmq_bus.h"

namespace sidestep::driver {
namespace {

constexpr std::int64_t slice_us = 20 * net::ms;         // between two looks at `interrupted`
constexpr std::int64_t repeat_us = 500 * net::ms;       // of a request without an answer
constexpr std::int64_t connect_limit_us = net::second;  // a listener on the way up gets this long

}  // namespace

struct Client::State {
  explicit State(ClientOptions given) : options(std::move(given)) {}

  ClientOptions options;
  boost::asio::io_context io;
  std::unique_ptr<net::ZmqBus> bus;
  net::BootId boot = 0;
  std::uint64_t number = 0;
  std::optional<net::Reply> reply;  // of request `number`
  std::string refusal;              // a Refusal that came instead
  std::function<void(const net::NodeKey&, const net::Message&)> on_data;
  bool is_final = false;  // the refusal holds for whatever is asked from now on
  bool joined = false;    // by the invite; the link is about to notice

  void on_message(const net::NodeKey& peer, const net::Envelope& envelope) {
    if (peer != options.scheduler) return;
    if (const auto* answer = std::get_if<net::Reply>(&envelope.message)) {
      if (answer->number == number) reply = *answer;
    } else if (const auto* refused = std::get_if<net::Refusal>(&envelope.message)) {
      refusal = refused->reason;
      is_final = refused->is_final;
    }
  }

  void run_for(std::int64_t duration_us) {
    io.restart();
    io.run_for(std::chrono::microseconds(duration_us));
  }
};

Result<std::unique_ptr<Client>> Client::create(ClientOptions options) {
  auto state = std::make_unique<State>(std::move(options));
  state->boot = net::random_boot_id();
  net::ZmqBusOptions bus_options;
  bus_options.keys = state->options.key;
  auto bus = net::ZmqBus::create(state->io, bus_options);
  if (!bus.ok()) return bus.status();
  state->bus = std::move(bus).value();
  State* raw = state.get();
  state->bus->set_handlers({
      [raw](const net::NodeKey& peer, net::Channel channel, net::Envelope envelope) {
        if (channel == net::Channel::control)
          raw->on_message(peer, envelope);
        else if (raw->on_data)
          raw->on_data(peer, envelope.message);
      },
      [](const net::NodeKey&, net::Channel) {},
      [](const std::string&) {},
  });
  state->bus->add_peer(state->options.scheduler, net::Channel::control, state->options.address);
  return std::unique_ptr<Client>(new Client(std::move(state)));
}

Client::Client(std::unique_ptr<State> state) : state_(std::move(state)) {}
Client::~Client() = default;

const std::string& Client::address() const { return state_->options.address; }

Result<nlohmann::json> Client::ask(const std::string& verb, nlohmann::json body, std::int64_t limit_us) {
  State& state = *state_;
  ++state.number;
  state.reply.reset();
  if (!state.is_final) state.refusal.clear();
  const net::Envelope request{state.boot, 0, net::Request{state.number, verb, std::move(body)}};
  const std::int64_t begin_us = net::monotonic_us();
  std::int64_t send_at_us = begin_us;
  while (!state.reply) {
    const std::int64_t now = net::monotonic_us();
    if (state.options.interrupted()) return Status::unavailable("interrupted");
    if (!state.refusal.empty())
      return Status::refused("the scheduler at " + address() + " refuses: " + state.refusal);
    if (now - begin_us >= limit_us)
      return Status::unavailable("the scheduler at " + address() + " has not answered for " +
                                 std::to_string(limit_us / net::second) + " s");
    const net::LinkReport link = state.bus->link_report(state.options.scheduler, net::Channel::control);
    const bool is_stranger = link.state == net::LinkState::handshake_failed_auth;
    if (is_stranger && state.options.invite && !state.joined) {
      if (Status status = join(limit_us); !status.ok()) return status;
      continue;
    }
    if (!state.joined &&
        (is_stranger || (link.state != net::LinkState::up && now - begin_us >= connect_limit_us)))
      return explain(link, address(), state.options.key.public_key);
    if (now >= send_at_us) {
      state.bus->send(state.options.scheduler, net::Channel::control, request);
      send_at_us = now + repeat_us;
    }
    state.run_for(slice_us);
  }
  if (state.reply->code != Code::ok) return Status(state.reply->code, state.reply->message);
  return std::move(state.reply->body);
}

void Client::connect_data(const net::NodeKey& node, const std::string& address) {
  state_->bus->add_peer(node, net::Channel::data, address);
}

void Client::send_data(const net::NodeKey& node, net::Message message) {
  state_->bus->send(node, net::Channel::data, {state_->boot, 0, std::move(message)});
}

void Client::set_data_handler(std::function<void(const net::NodeKey&, const net::Message&)> handler) {
  state_->on_data = std::move(handler);
}

net::LinkReport Client::data_link(const net::NodeKey& node) const {
  return state_->bus->link_report(node, net::Channel::data);
}

bool Client::interrupted() const { return state_->options.interrupted(); }

Status Client::join(std::int64_t limit_us) {
  State& state = *state_;
  Status status = join_by_invite({*state.options.invite, address(), state.options.key.public_key, "operator"},
                                 state.options.interrupted, limit_us);
  state.joined = status.ok();
  return status;
}

void Client::idle(std::int64_t duration_us) {
  const std::int64_t end_us = net::monotonic_us() + duration_us;
  while (!state_->options.interrupted() && net::monotonic_us() < end_us) state_->run_for(slice_us);
}

}  // namespace sidestep::driver
