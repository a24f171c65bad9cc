// SHA-256, written as "sha256:" and 64 hexadecimal digits: names the content of a file.
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

// Of a file's content, read in pieces of 1 MiB. A file that cannot be read is a Status with its path.
Result<std::string> sha256_file(const std::string& path);

}  // namespace sidestep::net
