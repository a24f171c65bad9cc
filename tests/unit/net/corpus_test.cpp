// The codec's fuzzer begins with one message of each kind, in tests/fuzz/corpus/codec. After a change of the
// messages SIDESTEP_WRITE_CORPUS=1 writes them anew:
//   SIDESTEP_WRITE_CORPUS=1 build/tests/sidestep_unit_tests "Codec: the fuzzer*"
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "net/codec.h"
#include "tests/unit/net/any_message.h"

using namespace sidestep::net;

namespace {

constexpr std::uint64_t seed = 4;

std::string text_of(const Payload& payload) {
  return {reinterpret_cast<const char*>(payload.data()), payload.size()};
}

// As tests/fuzz/codec.cpp takes it: the header's length, the header, one tensor frame.
std::string fuzzer_input(std::size_t kind) {
  const Frames frames = encode(any_envelope(kind, seed));
  REQUIRE(frames.size() <= 2);
  const std::size_t size = frames.front().size();
  REQUIRE(size <= 0xffff);
  std::string input{static_cast<char>(size & 0xff), static_cast<char>(size >> 8)};
  input += text_of(frames.front());
  if (frames.size() == 2) input += text_of(frames.back());
  return input;
}

}  // namespace

TEST_CASE("Codec: the fuzzer begins with one message of each kind") {
  const std::string folder = SIDESTEP_SOURCE_DIR "/tests/fuzz/corpus/codec/";
  const bool write = std::getenv("SIDESTEP_WRITE_CORPUS") != nullptr;
  if (write) std::filesystem::create_directories(folder);
  for (std::size_t kind = 0; kind < std::variant_size_v<Message>; ++kind) {
    const std::string path = folder + std::string(message_names[kind]);
    CAPTURE(path);
    const std::string input = fuzzer_input(kind);
    if (write) std::ofstream(path, std::ios::binary) << input;
    std::ifstream file(path, std::ios::binary);
    CHECK(std::string(std::istreambuf_iterator<char>(file), {}) == input);
  }
}
