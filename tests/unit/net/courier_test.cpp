#include "net/courier.h"

#include <catch2/catch.hpp>

#include "net/clock.h"
#include "tests/unit/net/keys.h"

using namespace sidestep::net;
using testing::key;

namespace {

struct Fixture {
  Courier courier{9, {.first_repeat_us = 500 * ms, .repeat_us_max = 4'000 * ms}};
  std::vector<Send> out;

  std::uint64_t post(std::int64_t now, const NodeKey& peer, const std::string& text) {
    courier.post(now, peer, Channel::control, Goodbye{text}, out);
    return out.back().envelope.id;
  }
  // Texts of what goes out at that time.
  std::vector<std::string> tick(std::int64_t now) {
    out.clear();
    courier.on_tick(now, out);
    std::vector<std::string> texts;
    for (const Send& send : out) texts.push_back(std::get<Goodbye>(send.envelope.message).reason);
    return texts;
  }
};

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE_METHOD(Fixture, "Courier: repeats with growing waits until the ack") {
  const auto id = post(0, key(1), "a");
  CHECK(out.front().envelope.boot == 9);
  CHECK(id != 0);
  CHECK(tick(499 * ms).empty());
  CHECK(tick(500 * ms) == Texts{"a"});  // then after 1, 2, 4, 4 s
  CHECK(tick(1'499 * ms).empty());
  CHECK(tick(1'500 * ms) == Texts{"a"});
  CHECK(tick(3'500 * ms) == Texts{"a"});
  CHECK(tick(7'500 * ms) == Texts{"a"});
  CHECK(tick(11'499 * ms).empty());
  CHECK(tick(11'500 * ms) == Texts{"a"});
  CHECK(out.front().envelope.id == id);
  courier.on_ack(key(1), Ack{9, {id}});
  CHECK(courier.waiting() == 0);
  CHECK(tick(60'000 * ms).empty());
}

TEST_CASE_METHOD(Fixture, "Courier: an ack counts only from whom the letter went to") {
  const auto id = post(0, key(1), "a");
  courier.on_ack(key(1), Ack{8, {id}});  // to the run before, whose ids began at 1 too
  CHECK(courier.waiting() == 1);
  courier.on_ack(key(2), Ack{9, {id}});
  CHECK(courier.waiting() == 1);
  courier.on_ack(key(1), Ack{9, {id + 1, id}});
  CHECK(courier.waiting() == 0);
}

TEST_CASE_METHOD(Fixture, "Courier: a tensor gets the time that a slow link takes before it is repeated") {
  MicrobatchHop hop;
  hop.tensor.payload = Payload::from_bytes(std::vector<std::byte>(1'000'000));
  courier.post(0, key(1), Channel::data, hop, out);
  const auto repeats = [&](std::int64_t now_us) {
    out.clear();
    courier.on_tick(now_us, out);
    return out.size();
  };
  CHECK(repeats(4'499 * ms) == 0);  // 0.5 s, and 4 s at 0.25 bytes a microsecond
  CHECK(repeats(4'500 * ms) == 1);
  CHECK(repeats(13'499 * ms) == 0);
  CHECK(repeats(13'500 * ms) == 1);
}

TEST_CASE_METHOD(Fixture, "Courier: repeats go out in order of posting") {
  post(0, key(2), "first");
  post(0, key(1), "second");
  post(0, key(2), "third");
  CHECK(tick(500 * ms) == Texts{"first", "second", "third"});
}

TEST_CASE_METHOD(Fixture, "Courier: hurry sends one peer's letters at once and starts their waits anew") {
  post(0, key(1), "a");
  post(0, key(2), "b");
  tick(500 * ms);
  out.clear();
  courier.hurry(600 * ms, key(1), out);
  REQUIRE(out.size() == 1);
  CHECK(out[0].peer == key(1));
  CHECK(tick(1'100 * ms) == Texts{"a"});
}

TEST_CASE_METHOD(Fixture, "Courier: what is out of date is dropped") {
  post(0, key(1), "a");
  post(0, key(2), "b");
  courier.drop_if([](const NodeKey& peer, const Message&) { return peer == key(1); });
  CHECK(courier.waiting() == 1);
  CHECK(tick(500 * ms) == Texts{"b"});
}

TEST_CASE_METHOD(Fixture, "Courier: acknowledges letters to the boot they came from, and nothing else") {
  courier.acknowledge(key(1), Channel::data, Envelope{4, 17, Goodbye{}}, out);
  REQUIRE(out.size() == 1);
  CHECK(std::get<Ack>(out[0].envelope.message).ids == std::vector<std::uint64_t>{17});
  CHECK(out[0].channel == Channel::data);
  CHECK(out[0].envelope.id == 0);
  CHECK(out[0].only_boot == BootId{4});
  courier.acknowledge(key(1), Channel::data, Envelope{4, 0, Goodbye{}}, out);
  CHECK(out.size() == 1);
}

TEST_CASE_METHOD(Fixture, "Courier: a letter for one boot is repeated to that boot") {
  courier.post(0, key(1), Channel::control, Goodbye{"b"}, out, BootId{5});
  CHECK(out[0].only_boot == BootId{5});
  tick(500 * ms);
  REQUIRE(out.size() == 1);
  CHECK(out[0].only_boot == BootId{5});
}

namespace {

Tensor bytes(std::size_t count) {
  return {
      DType::uint8, {static_cast<std::int64_t>(count)}, Payload::from_bytes(std::vector<std::byte>(count))};
}

struct RoundTrips : Fixture {
  std::uint64_t post_tensor(std::int64_t now, const NodeKey& peer, std::size_t count) {
    courier.post(now, peer, Channel::data, Slice{"job", 0, 0, SnapshotPart::weights, 0, "", bytes(count)},
                 out);
    return out.back().envelope.id;
  }
  // Bytes and times of posting that the Ack tells.
  std::vector<std::pair<std::size_t, std::int64_t>> ack(const NodeKey& peer, std::uint64_t id) {
    std::vector<std::pair<std::size_t, std::int64_t>> told;
    courier.on_ack(peer, Ack{9, {id}},
                   [&](const Courier::Arrived& one) { told.emplace_back(one.tensor_bytes, one.sent_us); });
    return told;
  }
};

using Told = std::vector<std::pair<std::size_t, std::int64_t>>;

}  // namespace

TEST_CASE_METHOD(RoundTrips, "Courier: an ack tells the round trip of a letter that was sent once") {
  CHECK(ack(key(1), post(10, key(1), "a")) == Told{{0, 10}});
  CHECK(ack(key(1), post_tensor(20, key(1), 64)) == Told{{64, 20}});
}

TEST_CASE_METHOD(RoundTrips,
                 "Courier: of a letter that was repeated nobody knows which copy the ack is for") {
  const auto repeated = post(0, key(1), "a");
  tick(500 * ms);
  CHECK(ack(key(1), repeated).empty());
  const auto hurried = post(0, key(1), "b");
  courier.hurry(10, key(1), out);
  CHECK(ack(key(1), hurried).empty());
  CHECK(ack(key(1), hurried).empty());  // and an ack that comes twice tells nothing
}

TEST_CASE_METHOD(RoundTrips, "Courier: a letter behind a tensor to the same peer waited for it") {
  const auto first = post_tensor(0, key(1), 64);
  const auto behind = post_tensor(1, key(1), 64);
  const auto small = post(2, key(1), "a");
  const auto elsewhere = post_tensor(3, key(2), 64);
  CHECK(ack(key(1), small).empty());
  CHECK(ack(key(1), first) == Told{{64, 0}});
  CHECK(ack(key(1), behind).empty());
  CHECK(ack(key(2), elsewhere) == Told{{64, 3}});
  // The way is free again, also when a letter is given up.
  const auto given_up = post_tensor(4, key(1), 64);
  courier.drop_if(
      [](const NodeKey&, const Message& message) { return std::holds_alternative<Slice>(message); });
  CHECK(ack(key(1), given_up).empty());
  CHECK(ack(key(1), post(5, key(1), "b")) == Told{{0, 5}});
}

TEST_CASE_METHOD(Fixture,
                 "Courier: averages beyond a window wait for acknowledgements, in order, others do not") {
  const CourierOptions options{.bulk_bytes_max = 2'500};
  Courier few{9, options};
  const auto chunk = [](std::uint32_t number) {
    AverageChunk message;
    message.chunk = number;
    message.tensor.payload = Payload::from_bytes(std::vector<std::byte>(1'000));
    return message;
  };
  for (std::uint32_t number = 0; number < 5; ++number) few.post(0, key(1), Channel::data, chunk(number), out);
  few.post(0, key(2), Channel::data, chunk(9), out);
  few.post(0, key(1), Channel::data, Goodbye{"small"}, out);
  const auto sent = [&] {
    std::vector<std::uint32_t> numbers;
    for (const Send& send : std::exchange(out, {}))
      if (const auto* message = std::get_if<AverageChunk>(&send.envelope.message))
        numbers.push_back(message->chunk);
    return numbers;
  };
  CHECK(sent() == std::vector<std::uint32_t>{0, 1, 9});
  few.on_ack(key(1), Ack{9, {2}});
  few.go_on(1, key(1), out);
  CHECK(sent() == std::vector<std::uint32_t>{2});
  // What is dropped makes room as well; what waited and was dropped does not come.
  few.drop_if([](const NodeKey&, const Message& message) {
    const auto* dropped = std::get_if<AverageChunk>(&message);
    return dropped != nullptr && (dropped->chunk == 0 || dropped->chunk == 3);
  });
  few.on_tick(2, out);
  CHECK(sent() == std::vector<std::uint32_t>{4});
  few.on_ack(key(1), Ack{9, {3, 5}});
  CHECK(few.waiting() == 2);
}

TEST_CASE_METHOD(Fixture, "Courier: a tensor behind others is given the time that they take too") {
  MicrobatchHop hop;
  hop.tensor.payload = Payload::from_bytes(std::vector<std::byte>(250'000));
  courier.post(0, key(1), Channel::data, hop, out);
  courier.post(0, key(1), Channel::data, hop, out);
  out.clear();
  courier.on_tick(1'500 * ms, out);
  CHECK(out.size() == 1);
  courier.on_tick(2'500 * ms, out);
  CHECK(out.size() == 2);
}
