#include "net/sim_bus.h"

#include <algorithm>
#include <cmath>

namespace sidestep::net {

// What lies on a link until its time: a message, or the end of the connection behind all messages.
struct SimNetwork::Delivery {
  LinkName link = {};
  BootId from_boot = 0;
  std::optional<BootId> to_boot = {};
  bool is_disconnect = false;
  Frames frames = {};
  std::size_t bytes = 0;
  Envelope envelope = {};
};

SimNetwork::SimNetwork(SimNetworkOptions options) : options_(std::move(options)), random_(options_.seed) {}

SimNetwork::~SimNetwork() { SIDESTEP_ASSERT(buses_.empty()); }

std::unique_ptr<SimBus> SimNetwork::create_bus(const NodeKey& key, BootId boot) {
  SIDESTEP_ASSERT(find(key, boot) == nullptr);
  std::unique_ptr<SimBus> bus(new SimBus(*this, key, boot));
  buses_.push_back(bus.get());
  buses_of_[key].push_back(bus.get());
  return bus;
}

std::optional<std::int64_t> SimNetwork::next_event_us() const {
  if (deliveries_.empty()) return std::nullopt;
  return deliveries_.begin()->first.first;
}

bool SimNetwork::step() {
  if (deliveries_.empty()) return false;
  auto first = deliveries_.extract(deliveries_.begin());
  now_us_ = std::max(now_us_, first.key().first);
  deliver(first.mapped());
  return true;
}

void SimNetwork::run_until(std::int64_t time_us) {
  while (!deliveries_.empty() && deliveries_.begin()->first.first <= time_us) step();
  now_us_ = std::max(now_us_, time_us);
}

void SimNetwork::set_link(const NodeKey& from, const NodeKey& to, const SimLinkOptions& options) {
  link_options_[{from, to}] = options;
}

void SimNetwork::cut(const NodeKey& from, const NodeKey& to) { cuts_.insert({from, to}); }

void SimNetwork::cut_both(const NodeKey& a, const NodeKey& b) {
  cut(a, b);
  cut(b, a);
}

void SimNetwork::isolate(const NodeKey& key) { isolated_.insert(key); }

void SimNetwork::rejoin(const NodeKey& key) { isolated_.erase(key); }

void SimNetwork::heal(const NodeKey& from, const NodeKey& to) { cuts_.erase({from, to}); }

void SimNetwork::heal_all() {
  cuts_.clear();
  isolated_.clear();
  const auto without_faults = [](SimLinkOptions& link) {
    link.loss = link.repetition = link.overtaking = link.clog = 0;
  };
  without_faults(options_.link);
  for (auto& [ends, link] : link_options_) without_faults(link);
}

void SimNetwork::send(SimBus& from, const NodeKey& to, std::optional<BootId> only_boot, Channel channel,
                      const Envelope& envelope) {
  Delivery delivery{.link = {from.key_, to, channel}, .from_boot = from.boot_, .to_boot = only_boot};
  const std::optional<std::size_t> plain =
      options_.plain_bytes ? options_.plain_bytes(envelope) : std::nullopt;
  if (plain) {
    delivery.bytes = *plain;
  } else if (options_.through_codec) {
    delivery.frames = encode(envelope);
    for (const Payload& frame : delivery.frames) delivery.bytes += frame.size();
  }
  if (delivery.frames.empty()) delivery.envelope = envelope;
  if (filter_ && !filter_({from.key_, to, channel, envelope, delivery.bytes})) return;

  // The draws are the same whatever comes of them, so that one fault does not shift all later ones.
  const SimLinkOptions link = link_options(from.key_, to);
  const bool lost = random_.chance(link.loss);
  const bool repeated = random_.chance(link.repetition);
  const std::int64_t arrival = arrival_us(delivery.link, delivery.bytes);
  if (lost || is_cut(from.key_, to)) return;
  if (sent_observer_) sent_observer_({from.key_, to, channel, envelope, delivery.bytes}, arrival);
  if (repeated) schedule(arrival + random_.between(0, link.delay_us_max), delivery);
  schedule(arrival, std::move(delivery));
}

std::int64_t SimNetwork::arrival_us(const LinkName& name, std::size_t bytes) {
  const SimLinkOptions options = link_options(std::get<0>(name), std::get<1>(name));
  Link& link = links_[name];
  link.free_at_us = std::max(link.free_at_us, now_us_);
  if (options.bytes_per_us > 0)
    link.free_at_us +=
        static_cast<std::int64_t>(std::llround(static_cast<double>(bytes) / options.bytes_per_us));
  std::int64_t arrival = link.free_at_us + random_.between(options.delay_us_min, options.delay_us_max);
  if (random_.chance(options.clog)) arrival += random_.between(0, options.clog_us_max);
  if (random_.chance(options.overtaking)) return arrival;
  link.last_arrival_us = std::max(link.last_arrival_us, arrival);
  return link.last_arrival_us;
}

void SimNetwork::schedule(std::int64_t time_us, Delivery delivery) {
  deliveries_.emplace(std::pair(time_us, next_delivery_++), std::move(delivery));
}

void SimNetwork::deliver(const Delivery& delivery) {
  const auto& [from, to, channel] = delivery.link;
  if (is_cut(from, to)) return;
  if (delivery.is_disconnect) {
    // Only buses that were there before: a newer one never had this connection.
    SimBus* bus = find(to, delivery.to_boot);
    if (bus != nullptr && bus->peers_.contains({from, channel}) && bus->handlers_.on_disconnect)
      bus->handlers_.on_disconnect(from, channel);
    return;
  }
  SimBus* bus = find(to, delivery.to_boot);
  if (bus == nullptr) return;
  const auto peer = bus->peers_.find({from, channel});
  if (peer == bus->peers_.end()) return bus->drop("a message from unknown key " + from.short_name());
  peer->second.heard = delivery.from_boot;

  Envelope envelope = delivery.envelope;
  if (!delivery.frames.empty()) {
    Result<Envelope> decoded = decode(delivery.frames);
    if (!decoded.ok()) return bus->drop(decoded.status().message());
    envelope = std::move(decoded).value();
  }
  if (observer_) observer_(now_us_, {from, to, channel, envelope, delivery.bytes});
  if (bus->handlers_.on_message) bus->handlers_.on_message(from, channel, std::move(envelope));
}

void SimNetwork::remove(SimBus& bus) {
  std::erase(buses_, &bus);
  std::erase(buses_of_[bus.key_], &bus);
  if (find(bus.key_, std::nullopt) != nullptr) return;  // not its last connection
  for (const SimBus* peer : buses_) {
    for (const Channel channel : {Channel::control, Channel::data}) {
      const bool connected =
          bus.peers_.contains({peer->key_, channel}) && peer->peers_.contains({bus.key_, channel});
      if (!connected || is_cut(bus.key_, peer->key_)) continue;
      Delivery delivery{.link = {bus.key_, peer->key_, channel},
                        .from_boot = bus.boot_,
                        .to_boot = peer->boot_,
                        .is_disconnect = true};
      const std::int64_t arrival = arrival_us(delivery.link, 0);
      schedule(arrival, std::move(delivery));
    }
  }
}

SimLinkOptions SimNetwork::link_options(const NodeKey& from, const NodeKey& to) const {
  const auto own = link_options_.find({from, to});
  if (own != link_options_.end()) return own->second;
  return options_.link_of ? options_.link_of(from, to) : options_.link;
}

bool SimNetwork::is_cut(const NodeKey& from, const NodeKey& to) const {
  return isolated_.contains(from) || isolated_.contains(to) || cuts_.contains({from, to});
}

SimBus* SimNetwork::find(const NodeKey& key, std::optional<BootId> boot) const {
  const auto of_key = buses_of_.find(key);
  if (of_key == buses_of_.end()) return nullptr;
  const std::vector<SimBus*>& buses = of_key->second;
  const auto it = std::find_if(buses.rbegin(), buses.rend(),
                               [&](const SimBus* bus) { return !boot || bus->boot_ == *boot; });
  return it == buses.rend() ? nullptr : *it;
}

// ---- SimBus -------------------------------------------------------------------------------

SimBus::~SimBus() { network_.remove(*this); }

void SimBus::add_peer(const NodeKey& peer, Channel channel, const std::string& address) {
  Peer& entry = peers_[{peer, channel}];
  entry.speaks_first = address.empty();
}

void SimBus::remove_peer(const NodeKey& peer, Channel channel) { peers_.erase({peer, channel}); }

void SimBus::send(const NodeKey& peer, Channel channel, const Envelope& envelope) {
  const auto known = peers_.find({peer, channel});
  if (known == peers_.end()) return drop("a message for unknown key " + peer.short_name());
  const Peer& entry = known->second;
  if (entry.speaks_first && !entry.heard)
    return drop("a message for " + peer.short_name() + ", which is not connected");
  network_.send(*this, peer, entry.speaks_first ? entry.heard : std::nullopt, channel, envelope);
}

void SimBus::send_to_boot(const NodeKey& peer, BootId boot, Channel channel, const Envelope& envelope) {
  if (!peers_.contains({peer, channel})) return drop("a message for unknown key " + peer.short_name());
  network_.send(*this, peer, boot, channel, envelope);
}

void SimBus::drop(const std::string& what) {
  ++dropped_;
  if (handlers_.on_dropped) handlers_.on_dropped(what);
}

}  // namespace sidestep::net
