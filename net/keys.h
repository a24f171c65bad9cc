// Curve25519 keys: a node's name (the public half) and what proves it (the secret half), and the
// file that holds both. Made by libsodium; CurveZMQ uses the same keys. Thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "net/node_key.h"
#include "net/status.h"

namespace sidestep::net {

// Wiped from memory when it goes. Never logged, never sent.
class SecretKey {
 public:
  SecretKey() = default;
  explicit SecretKey(const std::array<std::uint8_t, 32>& bytes) : bytes_(bytes) {}
  SecretKey(const SecretKey&) = default;
  SecretKey& operator=(const SecretKey&) = default;
  ~SecretKey();

  const std::array<std::uint8_t, 32>& bytes() const { return bytes_; }

 private:
  std::array<std::uint8_t, 32> bytes_{};
};

struct KeyPair {
  NodeKey public_key;
  SecretKey secret_key;
};

KeyPair generate_key_pair();

// The pair that this secret half belongs to.
KeyPair key_pair_of(const SecretKey& secret);

// Writes two lines, "public_key HEX" and "secret_key HEX", to a new file that only its owner can read.
// The file is there whole or not at all. Errors: refused (the file exists: a key is never overwritten), io.
Status write_key_file(const std::string& path, const KeyPair& keys);

// Errors: not_found, io, refused (group or others may access the file; the message has the cure),
// invalid (another content, or the public key does not belong to the secret one).
Result<KeyPair> read_key_file(const std::string& path);

// Never 0.
BootId random_boot_id();

}  // namespace sidestep::net
