// A network in virtual time: one queue per directed link and channel, faults drawn from one seed.
// The same seed and the same calls give the same deliveries, in the same order.
//
//   SimNetwork network({.seed = 7, .link = {.loss = 0.01}});
//   auto a = network.create_bus(key_a, boot_a);   // and b; each add_peer()s the other, as with ZmqBus
//   a->send(key_b, Channel::data, envelope);
//   network.run_until(2 * second);                // calls b's handlers at their virtual times
//
// The network outlives its buses. Destroying a bus is the death of its process: its peers hear of a
// closed connection, unless the link to them is cut (a lost machine). One thread; no clock, no sleep.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "net/bus.h"
#include "net/codec.h"
#include "net/random.h"

namespace sidestep::net {

// Faults of one directed link; probabilities are per message.
struct SimLinkOptions {
  std::int64_t delay_us_min = 200;
  std::int64_t delay_us_max = 1'000;
  double bytes_per_us = 0;  // bandwidth, messages queue for it; 0: no limit
  double loss = 0;          // the message never arrives
  double repetition = 0;    // it arrives twice
  double overtaking = 0;    // it does not wait for those before it, as across a reconnect
  double clog = 0;          // it and all after it are held up, for at most clog_us_max
  std::int64_t clog_us_max = 0;
};

struct SimNetworkOptions {
  std::uint64_t seed = 1;
  SimLinkOptions link = {};  // of every link without its own
  // Instead of `link`; must give the same for the same two keys.
  std::function<SimLinkOptions(const NodeKey& from, const NodeKey& to)> link_of = {};
  bool through_codec = true;  // encode and decode each message, as on a real wire
  // But not those that this gives a size on the wire for: with a thousand nodes the codec takes most of the
  // time.
  std::function<std::optional<std::size_t>(const Envelope&)> plain_bytes = {};
};

// A message on a link, as filters and the observer see it.
struct SimPacket {
  const NodeKey& from;
  const NodeKey& to;
  Channel channel;
  const Envelope& envelope;
  std::size_t bytes;
};

class SimBus;

class SimNetwork {
 public:
  explicit SimNetwork(SimNetworkOptions options);
  ~SimNetwork();
  SimNetwork(const SimNetwork&) = delete;
  SimNetwork& operator=(const SimNetwork&) = delete;

  // Two live buses may have the same key (two daemons started with one key file); boots differ.
  std::unique_ptr<SimBus> create_bus(const NodeKey& key, BootId boot);

  std::int64_t now_us() const { return now_us_; }
  // When the next delivery is due; nothing while no message is under way.
  std::optional<std::int64_t> next_event_us() const;
  // Makes the next delivery, moving now_us() to its time; false if there is none.
  bool step();
  // Makes every delivery due until then, those that they cause included, and moves now_us() there.
  void run_until(std::int64_t time_us);

  void set_link(const NodeKey& from, const NodeKey& to, const SimLinkOptions& options);
  // A cut link loses what is on it and what is sent into it, in this direction, until healed.
  void cut(const NodeKey& from, const NodeKey& to);
  void cut_both(const NodeKey& a, const NodeKey& b);
  void isolate(const NodeKey& key);  // cut_both with everybody, later buses included
  void heal(const NodeKey& from, const NodeKey& to);
  void rejoin(const NodeKey& key);  // ends its isolation
  void heal_all();                  // every cut, isolation and fault; delays and bandwidths stay

  // Asked for each message sent; false loses it. For scripted tests.
  void set_filter(std::function<bool(const SimPacket&)> filter) { filter_ = std::move(filter); }
  // Told of each delivery, before the handler; for traces.
  void set_observer(std::function<void(std::int64_t now_us, const SimPacket&)> observer) {
    observer_ = std::move(observer);
  }
  // Told of each message sent, with its time of arrival, unless it is lost on its way.
  void set_sent_observer(std::function<void(const SimPacket&, std::int64_t arrival_us)> observer) {
    sent_observer_ = std::move(observer);
  }

 private:
  friend class SimBus;
  using LinkName = std::tuple<NodeKey, NodeKey, Channel>;
  struct Link {
    std::int64_t free_at_us = 0;  // its bandwidth is taken until then
    std::int64_t last_arrival_us = 0;
  };
  struct Delivery;

  void send(SimBus& from, const NodeKey& to, std::optional<BootId> only_boot, Channel channel,
            const Envelope& envelope);
  void remove(SimBus& bus);
  std::int64_t arrival_us(const LinkName& name, std::size_t bytes);
  void schedule(std::int64_t time_us, Delivery delivery);
  void deliver(const Delivery& delivery);
  SimLinkOptions link_options(const NodeKey& from, const NodeKey& to) const;
  bool is_cut(const NodeKey& from, const NodeKey& to) const;
  // The bus of `key` with that boot; without one, the newest.
  SimBus* find(const NodeKey& key, std::optional<BootId> boot) const;

  SimNetworkOptions options_;
  Random random_;
  std::int64_t now_us_ = 0;
  std::uint64_t next_delivery_ = 0;
  std::map<std::pair<std::int64_t, std::uint64_t>, Delivery> deliveries_;  // by time, then sending
  std::map<LinkName, Link> links_;
  std::map<std::pair<NodeKey, NodeKey>, SimLinkOptions> link_options_;
  std::set<std::pair<NodeKey, NodeKey>> cuts_;
  std::set<NodeKey> isolated_;
  std::vector<SimBus*> buses_;                        // in order of creation
  std::map<NodeKey, std::vector<SimBus*>> buses_of_;  // the same, by key
  std::function<bool(const SimPacket&)> filter_;
  std::function<void(std::int64_t, const SimPacket&)> observer_;
  std::function<void(const SimPacket&, std::int64_t)> sent_observer_;
};

class SimBus : public Bus {
 public:
  ~SimBus() override;

  void set_handlers(Handlers handlers) override { handlers_ = std::move(handlers); }
  // Any address will do; an empty one means, as with ZmqBus, that the peer must speak first.
  void add_peer(const NodeKey& peer, Channel channel, const std::string& address) override;
  void remove_peer(const NodeKey& peer, Channel channel) override;
  void send(const NodeKey& peer, Channel channel, const Envelope& envelope) override;
  void send_to_boot(const NodeKey& peer, BootId boot, Channel channel, const Envelope& envelope) override;

  const NodeKey& key() const { return key_; }
  BootId boot() const { return boot_; }
  std::uint64_t dropped() const { return dropped_; }

 private:
  friend class SimNetwork;
  struct Peer {
    bool speaks_first = false;
    std::optional<BootId> heard;  // the boot heard from last
  };

  SimBus(SimNetwork& network, const NodeKey& key, BootId boot) : network_(network), key_(key), boot_(boot) {}
  void drop(const std::string& what);

  SimNetwork& network_;
  NodeKey key_;
  BootId boot_;
  Handlers handlers_;
  std::map<std::pair<NodeKey, Channel>, Peer> peers_;
  std::uint64_t dropped_ = 0;
};

}  // namespace sidestep::net
