#include "net/codec.h"

#include <rapidcheck.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "tests/unit/net/any_message.h"

using namespace sidestep;
using namespace sidestep::net;
using nlohmann::json;

namespace {

Payload payload_of(const std::vector<std::uint8_t>& bytes) {
  const auto* data = reinterpret_cast<const std::byte*>(bytes.data());
  return Payload::from_bytes({data, data + bytes.size()});
}

Payload packed(const json& header) { return payload_of(json::to_msgpack(header)); }

std::size_t kind_of(const std::string& name) {
  const auto it = std::find(message_names.begin(), message_names.end(), name);
  REQUIRE(it != message_names.end());
  return static_cast<std::size_t>(it - message_names.begin());
}

json header(const std::string& name, json body) {
  return json::array({wire_version, kind_of(name), 1, 2, std::move(body)});
}

std::string error_of(const Frames& frames, const CodecLimits& limits = {}) {
  const auto decoded = decode(frames, limits);
  return decoded.ok() ? ""
                      : std::string(to_string(decoded.status().code())) + ": " + decoded.status().message();
}

json scope() { return json::array({"job", 1, 1, 1}); }

// An AverageChunk whose tensor is [type, shape].
json chunk(json tensor) {
  return header("AverageChunk", json::array({scope(), 0, 0, 0, 0, 1, std::move(tensor)}));
}

}  // namespace

TEST_CASE("Codec: every kind of message comes back as it went") {
  for (std::size_t kind = 0; kind < std::variant_size_v<Message>; ++kind) {
    CAPTURE(message_names[kind]);
    CHECK(rc::check([&] {
      const Envelope envelope = any_envelope(kind, *rc::gen::arbitrary<std::uint64_t>());
      const auto decoded = decode(encode(envelope));
      if (!decoded.ok()) RC_FAIL(decoded.status().message());
      RC_ASSERT(same(decoded.value(), envelope));
    }));
  }
}

TEST_CASE("Codec: names follow the order of Message") {
  CHECK(name_of(Hello{}) == "Hello");
  CHECK(name_of(Welcome{}) == "Welcome");
  CHECK(name_of(Refusal{}) == "Refusal");
  CHECK(name_of(Heartbeat{}) == "Heartbeat");
  CHECK(name_of(HeartbeatReply{}) == "HeartbeatReply");
  CHECK(name_of(ViewUpdate{}) == "ViewUpdate");
  CHECK(name_of(Goodbye{}) == "Goodbye");
  CHECK(name_of(PrepareJob{}) == "PrepareJob");
  CHECK(name_of(Prepared{}) == "Prepared");
  CHECK(name_of(StartJob{}) == "StartJob");
  CHECK(name_of(EndJob{}) == "EndJob");
  CHECK(name_of(JobFault{}) == "JobFault");
  CHECK(name_of(CommitReport{}) == "CommitReport");
  CHECK(name_of(LogBatch{}) == "LogBatch");
  CHECK(name_of(Request{}) == "Request");
  CHECK(name_of(Reply{}) == "Reply");
  CHECK(name_of(MicrobatchHop{}) == "MicrobatchHop");
  CHECK(name_of(AverageChunk{}) == "AverageChunk");
  CHECK(name_of(StageReport{}) == "StageReport");
  CHECK(name_of(MicrobatchClosed{}) == "MicrobatchClosed");
  CHECK(name_of(Commit{}) == "Commit");
  CHECK(name_of(Ack{}) == "Ack");
  CHECK(name_of(Guests{}) == "Guests");
  CHECK(name_of(TakeSnapshot{}) == "TakeSnapshot");
  CHECK(name_of(SnapshotTaken{}) == "SnapshotTaken");
  CHECK(name_of(SliceRequest{}) == "SliceRequest");
  CHECK(name_of(Slice{}) == "Slice");
  CHECK(name_of(Join{}) == "Join");
  CHECK(name_of(Admitted{}) == "Admitted");
  CHECK(name_of(Visit{}) == "Visit");
  CHECK(name_of(VisitReply{}) == "VisitReply");
  CHECK(name_of(Probe{}) == "Probe");
  CHECK(name_of(ProbeReply{}) == "ProbeReply");
}

TEST_CASE("Codec: a loss that is not finite travels") {
  for (const double loss : {std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(),
                            std::numeric_limits<double>::quiet_NaN()}) {
    MicrobatchClosed closed;
    closed.loss = loss;
    const auto decoded = decode(encode({1, 2, closed}));
    REQUIRE(decoded.ok());
    const double arrived = std::get<MicrobatchClosed>(decoded.value().message).loss;
    CHECK(std::isnan(arrived) == std::isnan(loss));
    if (!std::isnan(loss)) CHECK(arrived == loss);
  }
}

TEST_CASE("Codec: a tensor's bytes are shared, not copied") {
  AverageChunk message;
  message.tensor = {DType::float32, {4}, payload_of(std::vector<std::uint8_t>(16, 7))};
  const Frames frames = encode({1, 2, message});
  REQUIRE(frames.size() == 2);
  CHECK(frames[1].data() == message.tensor.payload.data());
  const auto decoded = decode(frames);
  REQUIRE(decoded.ok());
  CHECK(std::get<AverageChunk>(decoded.value().message).tensor.payload.data() ==
        message.tensor.payload.data());
}

TEST_CASE("Codec: text that is not UTF-8 is repaired on the way out") {
  const auto decoded = decode(encode({1, 2,
                                      Goodbye{"a\xff\xe9"
                                              "b"}}));
  REQUIRE(decoded.ok());
  CHECK(std::get<Goodbye>(decoded.value().message).reason == "a??b");
  // In a JSON body, too, however deep.
  const json body = {{"list", {1, {{"k\xff", "x\xc3"}}}}, {"text", "fine"}};
  const auto reply = decode(encode({1, 2, Reply{1, Code::ok, "", body}}));
  REQUIRE(reply.ok());
  CHECK(std::get<Reply>(reply.value().message).body ==
        json({{"list", {1, {{"k?", "x?"}}}}, {"text", "fine"}}));
}

TEST_CASE("Codec: another wire version is refused by name") {
  json other = header("Ack", json::array({1, json::array()}));
  other[0] = wire_version + 1;
  CHECK(error_of({packed(other)}) == "refused: the peer speaks wire version " +
                                         std::to_string(wire_version + 1) + ", this program speaks " +
                                         std::to_string(wire_version) + ": run the same release on both");
  // Whatever else is in it.
  CHECK(error_of({packed(json::array({wire_version + 1, "anything"}))}).substr(0, 8) == "refused:");
}

TEST_CASE("Codec: malformed headers are named") {
  const json key_of_3 = json::binary({1, 2, 3});
  const struct {
    json header;
    std::string error;
  } cases[] = {
      {json::object(), "header: expected [version, kind, boot, id, body]"},
      {json::array(), "header: expected [version, kind, boot, id, body]"},
      {json::array({"1"}), "header: expected [version, kind, boot, id, body]"},
      {json::array({wire_version, 0, 1, 2}), "header: expected [version, kind, boot, id, body]"},
      {json::array({wire_version, 0, -1, 2, json::array()}),
       "header: expected [version, kind, boot, id, body]"},
      {json::array({wire_version, std::variant_size_v<Message>, 1, 2, json::array()}),
       "header: unknown kind " + std::to_string(std::variant_size_v<Message>)},
      {header("Ack", 5), "Ack: expected a list of fields, found number"},
      {header("Ack", json::array()), "Ack.boot: missing"},
      {header("Ack", json::array({1, json::array(), 1})), "Ack: has 3 fields, expected 2"},
      {header("Ack", json::array({1, "x"})), "Ack.ids: expected a list, found string"},
      {header("Ack", json::array({1, {1, -1}})),
       "Ack.ids[1]: value -1 is out of range, allowed 0 to 18446744073709551615"},
      {header("Ack", json::array({1, {1.5}})), "Ack.ids[0]: expected a whole number, found number"},
      {header("Refusal", json::array({1})), "Refusal.reason: expected text, found number"},
      {header("Commit", json::array({scope(), 1, json::array({0, false})})),
       "Commit.terms.skip_update: expected true or false, found number"},
      {header("Commit", json::array({json::array({"job", 1, 1}), 1, json::array()})),
       "Commit.scope.step: missing"},
      {header("AverageChunk", json::array({scope(), 4294967296, 0, 0, 0, 1, json()})),
       "AverageChunk.stage: value 4294967296 is out of range, allowed 0 to 4294967295"},
      {header("AverageChunk", json::array({scope(), 0, 0, 2, 0, 1, json()})),
       "AverageChunk.phase: value 2 is too large, at most 1 allowed"},
      {header("SliceRequest", json::array({"job", 1, 0, 6, 0, 1})),
       "SliceRequest.part: value 6 is too large, at most 5 allowed"},
      {header("Slice", json::array({"job", 1, 0, 0, 0, "", json::array({0, json::array({4})})})),
       "Slice.tensor: its tensor frame is missing"},
      {header("Reply", json::array({1, 7, "", json()})),
       "Reply.code: value 7 is too large, at most 6 allowed"},
      {header("MicrobatchClosed", json::array({scope(), 1, 1, false, "x", json::array()})),
       "MicrobatchClosed.loss: expected a number, found string"},
      {header("MicrobatchClosed", json::array({scope(), 1, 1, false, 1.0, {{0, key_of_3}}})),
       "MicrobatchClosed.route[0].node: a key has 32 bytes, this has 3"},
      {header("MicrobatchClosed", json::array({scope(), 1, 1, false, 1.0, {{0, "abc"}}})),
       "MicrobatchClosed.route[0].node: expected a key, found string"},
  };
  for (const auto& c : cases) CHECK(error_of({packed(c.header)}) == "invalid: " + c.error);
}

TEST_CASE("Codec: bytes that are no MessagePack are named") {
  const struct {
    std::vector<std::uint8_t> bytes;
    std::string error;
  } cases[] = {
      {{}, "header: truncated at byte 0"},
      {{0xc1}, "header: unsupported MessagePack type 193 at byte 0"},
      {{0xd4, 1, 1}, "header: unsupported MessagePack type 212 at byte 0"},
      {{0x95, 1}, "header: a list of 5 entries with 1 bytes left at byte 1"},
      {{0xdd, 0xff, 0xff, 0xff, 0xff}, "header: a list of 4294967295 entries with 0 bytes left at byte 5"},
      {{0xdb, 0xff, 0xff, 0xff, 0xff, 'a'}, "header: a length of 4294967295 with 1 bytes left at byte 5"},
      {{0xc6, 0x00, 0x00}, "header: truncated at byte 1"},
      {{0xcf, 0x00, 0x00}, "header: a length of 8 with 2 bytes left at byte 1"},
      {{0xa2, 0xc0, 0x80}, "header: text that is not UTF-8 at byte 1"},
      {{0xa3, 0xed, 0xa0, 0x80}, "header: text that is not UTF-8 at byte 1"},
      {{0x81, 0x01, 0x01}, "header: a map key that is no text at byte 1"},
      {{0x01, 0x01}, "header: bytes after the end at byte 1"},
  };
  for (const auto& c : cases) CHECK(error_of({payload_of(c.bytes)}) == "invalid: " + c.error);
  CHECK(error_of({}) == "invalid: a message without frames");
}

TEST_CASE("Codec: a header nested a million deep is refused, not followed") {
  CHECK(error_of({payload_of(std::vector<std::uint8_t>(1'000'000, 0x91))}) ==
        "invalid: header: nested more than 64 deep at byte 65");
  std::vector<std::uint8_t> maps;
  for (int i = 0; i < 100'000; ++i) maps.insert(maps.end(), {0x81, 0xa1, 'k'});
  CHECK(error_of({payload_of(maps)}).find("nested more than 64 deep") != std::string::npos);
}

TEST_CASE("Codec: limits hold before memory is taken") {
  const CodecLimits small{
      .header_bytes_max = 200, .tensor_bytes_max = 100, .list_entries_max = 20, .text_bytes_max = 50};
  CHECK(error_of({payload_of(std::vector<std::uint8_t>(201, 0))}, small) ==
        "invalid: a header of 201 bytes, at most 200 allowed");
  CHECK(error_of({packed(header("Ack", json::array({1, json::array_t(21, 1)})))}, small) ==
        "invalid: Ack.ids: a list of 21 entries, at most 20 allowed");
  CHECK(error_of({packed(header("Ack", json::array({1, json::array_t(60, 1)})))}, small) ==
        "invalid: header: more than 40 values at byte 42");
  CHECK(error_of({packed(header("Goodbye", json::array({std::string(51, 'x')})))}, small) ==
        "invalid: Goodbye.reason: text of 51 bytes, at most 50 allowed");
  CHECK(error_of({packed(chunk({0, {26}})), payload_of(std::vector<std::uint8_t>(104))}, small) ==
        "invalid: AverageChunk.tensor: a tensor of 104 bytes, at most 100 allowed");
}

TEST_CASE("Codec: a tensor's frame and shape must agree") {
  const Payload eight = payload_of(std::vector<std::uint8_t>(8));
  const std::string at = "invalid: AverageChunk.tensor: ";
  CHECK(error_of({packed(chunk({0, {2}})), eight}).empty());
  CHECK(error_of({packed(chunk({0, {3}})), eight}) == at + "the shape needs 12 bytes, the frame has 8");
  CHECK(error_of({packed(chunk({0, {2}}))}) == at + "its tensor frame is missing");
  CHECK(error_of({packed(chunk({0, {2}})), eight, eight}) ==
        "invalid: AverageChunk: 2 tensor frames, expected 1");
  CHECK(error_of({packed(chunk({4, {2}})), eight}) == at + "unknown tensor type 4");
  CHECK(error_of({packed(chunk({0, {-2}})), eight}) == at + "a dimension of -2");
  CHECK(error_of({packed(chunk({0, {INT64_MAX, INT64_MAX}})), eight}) == at + "the shape's size overflows");
  // 4 * 2^62 * 2 wraps round to 0 in 64 bits; nothing may be read from an empty frame.
  CHECK(error_of({packed(chunk({0, {std::int64_t{1} << 62, 2}})), payload_of({})}) ==
        at + "the shape's size overflows");
  CHECK(error_of({packed(chunk({0, json::array_t(9, 1)})), eight}) ==
        at + "a tensor of 9 dimensions, at most 8 allowed");
  CHECK(error_of({packed(chunk(3)), eight}) == at + "expected a tensor's type and shape, found number");
  CHECK(error_of({packed(header("Ack", json::array({1, json::array()}))), eight}) ==
        "invalid: Ack: 1 tensor frames, expected 0");
}

TEST_CASE("Codec: any change of one byte is decoded or refused, never worse") {
  CHECK(rc::check([] {
    const auto kind = *rc::gen::inRange<std::size_t>(0, std::variant_size_v<Message>);
    Frames frames = encode(any_envelope(kind, *rc::gen::arbitrary<std::uint64_t>()));
    std::vector<std::uint8_t> bytes(frames[0].size());
    std::memcpy(bytes.data(), frames[0].data(), bytes.size());
    bytes[*rc::gen::inRange<std::size_t>(0, bytes.size())] = *rc::gen::arbitrary<std::uint8_t>();
    bytes.resize(*rc::gen::inRange<std::size_t>(0, bytes.size() + 1));
    frames[0] = payload_of(bytes);
    const auto decoded = decode(frames);
    if (!decoded.ok()) RC_ASSERT(!decoded.status().message().empty());
  }));
}
