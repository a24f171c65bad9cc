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
  std::array<char, 2 * crypto_hash_sha256_BYTES + 1> hex;
  sodium_bin2hex(hex.data(), hex.size(), hash.data(), hash.size());
  return std::string("sha256:") + hex.data();
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
