#include "net/digest.h"

#include <sodium.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

namespace sidestep::net {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

crypto_hash_sha256_state* as_state(std::array<std::byte, 128>& bytes) {
  return reinterpret_cast<crypto_hash_sha256_state*>(bytes.data());
}

crypto_onetimeauth_state* as_checksum(std::array<std::byte, 256>& bytes) {
  return reinterpret_cast<crypto_onetimeauth_state*>(bytes.data());
}

std::string hex(std::span<const unsigned char> bytes) {
  std::string text(2 * bytes.size() + 1, '\0');
  sodium_bin2hex(text.data(), text.size(), bytes.data(), bytes.size());
  text.pop_back();
  return text;
}

}  // namespace

Sha256::Sha256() {
  static_assert(sizeof(crypto_hash_sha256_state) <= sizeof(state_));
  static_assert(alignof(crypto_hash_sha256_state) <= alignof(std::uint64_t));
  crypto_hash_sha256_init(as_state(state_));
}

void Sha256::add(std::span<const std::byte> bytes) {
  crypto_hash_sha256_update(as_state(state_), reinterpret_cast<const unsigned char*>(bytes.data()),
                            bytes.size());
}

std::string Sha256::finish() {
  std::array<unsigned char, crypto_hash_sha256_BYTES> hash;
  crypto_hash_sha256_final(as_state(state_), hash.data());
  return "sha256:" + hex(hash);
}

Checksum::Checksum() {
  static_assert(sizeof(crypto_onetimeauth_state) <= sizeof(state_));
  static_assert(alignof(crypto_onetimeauth_state) <= 16);
  std::array<unsigned char, crypto_onetimeauth_KEYBYTES> key;
  key.fill(1);
  crypto_onetimeauth_init(as_checksum(state_), key.data());
}

void Checksum::add(std::span<const std::byte> bytes) {
  crypto_onetimeauth_update(as_checksum(state_), reinterpret_cast<const unsigned char*>(bytes.data()),
                            bytes.size());
}

std::string Checksum::finish() {
  std::array<unsigned char, crypto_onetimeauth_BYTES> sum;
  crypto_onetimeauth_final(as_checksum(state_), sum.data());
  return "poly1305:" + hex(sum);
}

std::string checksum(std::span<const std::byte> bytes) {
  Checksum sum;
  sum.add(bytes);
  return sum.finish();
}

std::string sha256(std::span<const std::byte> bytes) {
  Sha256 digest;
  digest.add(bytes);
  return digest.finish();
}

Result<std::string> sha256_file(const std::string& path) {
  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path.c_str(), "rb"));
  if (!file) return Status::io(path + ": cannot be opened: " + std::strerror(errno));
  Sha256 digest;
  std::vector<std::byte> buffer(1 << 20);
  std::size_t count = 0;
  while ((count = std::fread(buffer.data(), 1, buffer.size(), file.get())) > 0)
    digest.add({buffer.data(), count});
  if (std::ferror(file.get())) return Status::io(path + ": cannot be read: " + std::strerror(errno));
  return digest.finish();
}

}  // namespace sidestep::net
