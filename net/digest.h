// SHA-256, written as "sha256:" and 64 hexadecimal digits: names the content of a file. And a checksum ten
// times as fast for what travels from memory to memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "net/status.h"

namespace sidestep::net {

std::string sha256(std::span<const std::byte> bytes);

// Of what comes piece by piece.
class Sha256 {
 public:
  Sha256();
  void add(std::span<const std::byte> bytes);
  // Of all that was added; nothing may be added after it.
  std::string finish();

 private:
  alignas(std::uint64_t) std::array<std::byte, 128> state_;  // libsodium's
};

// Poly1305 under a key that everybody knows, written as "poly1305:" and 32 hexadecimal digits: finds what was
// damaged or mixed up on its way. Whoever would deceive can: it compares what a peer sent with what the same
// peer had promised.
class Checksum {
 public:
  Checksum();
  void add(std::span<const std::byte> bytes);
  // Of all that was added; nothing may be added after it.
  std::string finish();

 private:
  alignas(16) std::array<std::byte, 256> state_;  // libsodium's
};

std::string checksum(std::span<const std::byte> bytes);

// Of a file's content, read in pieces of 1 MiB. A file that cannot be read is a Status with its path.
Result<std::string> sha256_file(const std::string& path);

}  // namespace sidestep::net
