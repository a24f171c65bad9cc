// Emulated links in virtual time: what arrives when, to the microsecond.
#include "net/emulated_bus.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <limits>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "net/codec.h"
#include "tests/unit/net/keys.h"

using namespace sidestep::net;
using testing::key;

namespace {

const NodeKey near_by = key(1), far_away = key(2);

Message text(const std::string& reason) { return Goodbye{reason}; }

Tensor tensor(std::size_t bytes) {
  return {
      DType::uint8, {static_cast<std::int64_t>(bytes)}, Payload::from_bytes(std::vector<std::byte>(bytes))};
}
Message chunk(std::size_t bytes) {
  AverageChunk message;
  message.tensor = tensor(bytes);
  return message;
}
Message activations(std::size_t bytes) {
  MicrobatchHop message;
  message.tensor = tensor(bytes);
  return message;
}

// An emulated bus with a clock of its own over one that notes what it is given, and when.
class Lab : public Bus {
 public:
  struct Arrival {
    std::int64_t at_us;
    NodeKey peer;
    Envelope envelope;
    std::optional<BootId> boot;
  };

  Lab()
      : bus_(
            *this, [this] { return now_us_; }, [this](std::int64_t due_us) { due_us_ = due_us; }) {}

  EmulatedBus& bus() { return bus_; }
  void link(const EmulatedLink& link, const NodeKey& peer = far_away) {
    bus_.set_link(peer, Channel::data, link);
  }
  void tell(Message message, const NodeKey& peer = far_away) {
    bus_.send(peer, Channel::data, {7, next_id_++, std::move(message)});
  }
  void run_until(std::int64_t time_us) {
    while (due_us_ <= time_us) {
      now_us_ = std::max(now_us_, std::exchange(due_us_, never));
      bus_.on_timer();
    }
    now_us_ = time_us;
  }
  // Time passes, and the timer does not come round to it.
  void oversleep(std::int64_t time_us) { now_us_ = time_us; }
  // When each came, in the order of arrival.
  std::vector<std::int64_t> times() {
    run_until(1'000'000'000);
    std::vector<std::int64_t> times;
    for (const Arrival& arrival : arrivals_) times.push_back(arrival.at_us);
    return times;
  }
  // In the order of arrival; ids count from 0 in that of sending.
  std::vector<std::uint64_t> ids() {
    run_until(1'000'000'000);
    std::vector<std::uint64_t> ids;
    for (const Arrival& arrival : arrivals_) ids.push_back(arrival.envelope.id);
    return ids;
  }
  std::vector<Arrival>& arrivals() { return arrivals_; }

  void set_handlers(Handlers) override {}
  void add_peer(const NodeKey&, Channel, const std::string&) override {}
  void remove_peer(const NodeKey& peer, Channel) override { removed_ = peer; }
  void send(const NodeKey& peer, Channel, const Envelope& envelope) override {
    arrivals_.push_back({now_us_, peer, envelope, {}});
  }
  void send_to_boot(const NodeKey& peer, BootId boot, Channel, const Envelope& envelope) override {
    arrivals_.push_back({now_us_, peer, envelope, boot});
  }
  NodeKey removed_;

 private:
  static constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();

  std::int64_t now_us_ = 0;
  std::int64_t due_us_ = never;
  std::uint64_t next_id_ = 0;
  std::vector<Arrival> arrivals_;
  EmulatedBus bus_;
};

std::int64_t bytes_of(const Message& message) {
  std::size_t bytes = 0;
  for (const Payload& frame : encode({7, 0, message})) bytes += frame.size();
  return static_cast<std::int64_t>(bytes);
}

using Times = std::vector<std::int64_t>;
using Ids = std::vector<std::uint64_t>;

}  // namespace

TEST_CASE("Emulated bus: a peer without a link, and a link without figures, are passed on to at once") {
  Lab lab;
  lab.link({});
  lab.tell(text("a"), near_by);
  lab.tell(text("b"), far_away);
  REQUIRE(lab.arrivals().size() == 2);
  CHECK(lab.times() == Times{0, 0});
  // Control is another channel.
  lab.link({.latency_us = 500});
  lab.bus().send(far_away, Channel::control, {7, 2, text("c")});
  CHECK(lab.arrivals().size() == 3);
}

TEST_CASE("Emulated bus: latency delays each message, in the order in which they were sent") {
  Lab lab;
  lab.link({.latency_us = 500});
  lab.tell(text("a"));
  lab.tell(chunk(1'000'000));
  lab.run_until(100);
  lab.tell(text("b"));
  lab.run_until(499);
  CHECK(lab.arrivals().empty());
  CHECK(lab.times() == Times{500, 500, 600});
  CHECK(lab.ids() == Ids{0, 1, 2});
}

TEST_CASE("Emulated bus: bandwidth counts every byte, and messages share nothing") {
  Lab lab;
  lab.link({.latency_us = 500, .bytes_per_us = 0.25});
  lab.tell(chunk(1'000));
  lab.tell(chunk(2'000));
  lab.tell(text("overtakes both"));
  CHECK(lab.times() == Times{500 + 4 * bytes_of(text("overtakes both")), 500 + 4 * bytes_of(chunk(1'000)),
                             500 + 4 * bytes_of(chunk(2'000))});
  CHECK(lab.ids() == Ids{2, 0, 1});
}

TEST_CASE("Emulated bus: fifo messages queue for the bandwidth, not for the latency") {
  Lab lab;
  lab.link({.latency_us = 500, .bytes_per_us = 1, .fifo = true});
  const std::int64_t one = bytes_of(chunk(1'000)), small = bytes_of(text("behind"));
  lab.tell(chunk(1'000));
  lab.tell(chunk(1'000));
  lab.tell(text("behind"));
  lab.run_until(10'000);  // the link is free again
  lab.tell(text("behind"));
  CHECK(lab.times() == Times{500 + one, 500 + 2 * one, 500 + 2 * one + small, 10'000 + 500 + small});
  CHECK(lab.ids() == Ids{0, 1, 2, 3});
}

TEST_CASE("Emulated bus: a transfer takes its time whatever its size, and only a microbatch is one") {
  Lab lab;
  lab.link({.latency_us = 10, .bytes_per_us = 1, .transfer_us = 7'000});
  lab.tell(activations(1));
  lab.tell(activations(100'000));
  lab.tell(text("small"));
  CHECK(lab.times() == Times{10 + bytes_of(text("small")), 7'000, 7'000});
  CHECK(lab.ids() == Ids{2, 0, 1});
}

TEST_CASE("Emulated bus: fifo transfers take the link one after the other") {
  Lab lab;
  lab.link({.transfer_us = 7'000, .fifo = true});
  lab.tell(activations(1));
  lab.tell(text("waits"));
  lab.tell(activations(1));
  CHECK(lab.times() == Times{7'000, 7'000, 14'000});
}

TEST_CASE("Emulated bus: jitter stays within its bound and comes from the seed") {
  const auto times = [](std::uint64_t seed, bool fifo) {
    Lab lab;
    lab.link({.latency_us = 1'000, .jitter_us = 400, .fifo = fifo, .seed = seed});
    for (int i = 0; i < 200; ++i) lab.tell(text("x"));
    Times sent_order(200);
    const Times arrived = lab.times();
    for (std::size_t i = 0; i < arrived.size(); ++i) sent_order[lab.arrivals()[i].envelope.id] = arrived[i];
    return sent_order;
  };
  const Times free = times(5, false), queued = times(5, true);
  const auto [least, most] = std::minmax_element(free.begin(), free.end());
  CHECK(*least >= 1'000);
  CHECK(*least < 1'050);
  CHECK(*most <= 1'400);
  CHECK(*most > 1'350);
  CHECK_FALSE(std::is_sorted(free.begin(), free.end()));
  CHECK(std::is_sorted(queued.begin(), queued.end()));
  CHECK(free == times(5, false));
  CHECK(free != times(6, false));
}

TEST_CASE("Emulated bus: loss takes its share, and the rest arrives when it would have") {
  const auto run = [](double loss) {
    Lab lab;
    lab.link({.latency_us = 100, .jitter_us = 50, .loss = loss, .seed = 9});
    for (int i = 0; i < 1'000; ++i) lab.tell(text("x"));
    lab.run_until(1'000);
    std::map<std::uint64_t, std::int64_t> arrived;
    for (const auto& arrival : lab.arrivals()) arrived[arrival.envelope.id] = arrival.at_us;
    return arrived;
  };
  const auto all = run(0), some = run(0.1);
  CHECK(all.size() == 1'000);
  // 900, give or take four standard deviations.
  CHECK(some.size() > 900 - 38);
  CHECK(some.size() < 900 + 38);
  for (const auto& [id, at_us] : some) CHECK(all.at(id) == at_us);
  CHECK(run(1).empty());
}

TEST_CASE("Emulated bus: links do not disturb each other") {
  const auto times = [](bool both) {
    Lab lab;
    lab.link({.latency_us = 100, .jitter_us = 1'000, .fifo = true, .seed = 3});
    lab.link({.latency_us = 100, .jitter_us = 1'000, .fifo = true, .seed = 3}, near_by);
    for (int i = 0; i < 20; ++i) {
      if (both) lab.tell(chunk(100), near_by);
      lab.tell(text("x"));
    }
    lab.run_until(10'000);
    Times far;
    for (const auto& arrival : lab.arrivals())
      if (arrival.peer == far_away) far.push_back(arrival.at_us);
    return far;
  };
  CHECK(times(true) == times(false));
}

TEST_CASE("Emulated bus: the run of a peer that was meant is kept") {
  Lab lab;
  lab.link({.latency_us = 100});
  lab.bus().send_to_boot(far_away, 44, Channel::data, {7, 0, text("x")});
  CHECK(lab.times() == Times{100});
  CHECK(lab.arrivals()[0].boot == 44);
}

TEST_CASE("Emulated bus: what is on its way to a removed peer is lost and let go, the rest is not") {
  Lab lab;
  lab.link({.latency_us = 100});
  lab.link({.latency_us = 100}, near_by);
  Message sent = chunk(10);
  const std::weak_ptr<const void> owner = std::get<AverageChunk>(sent).tensor.payload.owner();
  lab.tell(std::move(sent));
  lab.tell(text("x"), near_by);
  lab.bus().remove_peer(far_away, Channel::data);
  CHECK(lab.removed_ == far_away);
  CHECK(owner.expired());
  CHECK(lab.ids() == Ids{1});
  // Without a link from now on.
  lab.tell(text("y"));
  CHECK(lab.arrivals().back().at_us == 1'000'000'000);
}

TEST_CASE("Emulated bus: a timer that is late upsets no order") {
  Lab lab;
  lab.link({.latency_us = 100});
  lab.tell(text("a"));
  lab.link({});  // the link was slow and is so no more
  lab.run_until(99);
  lab.tell(text("b"));
  CHECK(lab.ids() == Ids{1, 0});
  // As if the loop had been busy: nobody calls on_timer until something is sent.
  Lab busy;
  busy.link({.latency_us = 100});
  busy.tell(text("a"));
  busy.oversleep(5'000);
  busy.link({});
  busy.tell(text("b"));
  CHECK(busy.ids() == Ids{0, 1});
}
