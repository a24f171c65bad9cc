#include "net/keys.h"

#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "net/assert.h"

namespace sidestep::net {
namespace {

constexpr std::string_view public_word = "public_key ";
constexpr std::string_view secret_word = "secret_key ";
constexpr std::size_t hex_digits = 64;
constexpr std::size_t file_bytes = public_word.size() + secret_word.size() + 2 * (hex_digits + 1);

void start_sodium() { SIDESTEP_ASSERT(sodium_init() >= 0); }

// Text that held a secret key, wiped when it goes.
struct SecretText {
  std::array<char, file_bytes + 1> chars{};
  ~SecretText() { sodium_memzero(chars.data(), chars.size()); }
};

class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }

 private:
  int fd_;
};

Status system_error(const std::string& path, const std::string& what) {
  return Status::io(path + ": " + what + ": " + std::strerror(errno));
}

NodeKey public_key_of(const SecretKey& secret) {
  NodeKey key;
  SIDESTEP_ASSERT(crypto_scalarmult_base(key.bytes.data(), secret.bytes().data()) == 0);
  return key;
}

bool write_all(int fd, const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t written = ::write(fd, data, size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    data += written;
    size -= static_cast<std::size_t>(written);
  }
  return true;
}

// Reads to the end of the file or of `text`; the number of bytes, or -1.
ssize_t read_all(int fd, SecretText& text) {
  std::size_t size = 0;
  while (size < text.chars.size()) {
    const ssize_t got = ::read(fd, text.chars.data() + size, text.chars.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  return static_cast<ssize_t>(size);
}

Result<KeyPair> parse(const std::string& path, std::string_view text) {
  const Status wrong = Status::invalid(
      path +
      ": not a key file: expected two lines, \"public_key HEX\" and \"secret_key HEX\" with 64 digits each");
  if (text.size() != file_bytes || text.back() != '\n') return wrong;
  const std::string_view public_line = text.substr(0, public_word.size() + hex_digits);
  const std::string_view secret_line = text.substr(public_line.size() + 1, secret_word.size() + hex_digits);
  if (!public_line.starts_with(public_word) || !secret_line.starts_with(secret_word) ||
      text[public_line.size()] != '\n')
    return wrong;
  const auto public_key = NodeKey::from_hex(public_line.substr(public_word.size()));
  auto secret_bytes = NodeKey::from_hex(secret_line.substr(secret_word.size()));
  if (!public_key.ok()) return public_key.status().with_context(path + ": public_key");
  if (!secret_bytes.ok()) return secret_bytes.status().with_context(path + ": secret_key");

  KeyPair keys{public_key.value(), SecretKey(secret_bytes.value().bytes)};
  sodium_memzero(secret_bytes.value().bytes.data(), secret_bytes.value().bytes.size());
  const NodeKey expected = public_key_of(keys.secret_key);
  if (expected != keys.public_key)
    return Status::invalid(path + ": public_key " + keys.public_key.hex() +
                           " does not belong to the secret_key, whose public key is " + expected.hex());
  return keys;
}

}  // namespace

SecretKey::~SecretKey() { sodium_memzero(bytes_.data(), bytes_.size()); }

KeyPair generate_key_pair() {
  start_sodium();
  NodeKey public_key;
  std::array<std::uint8_t, 32> secret;
  crypto_box_keypair(public_key.bytes.data(), secret.data());
  KeyPair keys{public_key, SecretKey(secret)};
  sodium_memzero(secret.data(), secret.size());
  return keys;
}

KeyPair key_pair_of(const SecretKey& secret) {
  start_sodium();
  return {public_key_of(secret), secret};
}

Status write_key_file(const std::string& path, const KeyPair& keys) {
  SecretText text;
  char* end = text.chars.data();
  const auto append = [&](std::string_view part) {
    std::memcpy(end, part.data(), part.size());
    end += part.size();
  };
  append(public_word);
  append(keys.public_key.hex());
  append("\n");
  append(secret_word);
  sodium_bin2hex(end, hex_digits + 1, keys.secret_key.bytes().data(), keys.secret_key.bytes().size());
  end += hex_digits;
  append("\n");

  // Written beside its place and linked there when whole: link() never replaces a file.
  const std::string unfinished = path + "." + std::to_string(::getpid()) + ".new";
  {
    const File file(::open(unfinished.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!file.is_open()) return system_error(path, "cannot create the key file");
    if (!write_all(file.fd(), text.chars.data(), file_bytes) || ::fsync(file.fd()) != 0) {
      const Status status = system_error(path, "cannot write the key file");
      ::unlink(unfinished.c_str());
      return status;
    }
  }
  Status status;
  if (::link(unfinished.c_str(), path.c_str()) != 0)
    status = errno == EEXIST ? Status::refused(path + ": exists already; a key is never overwritten")
                             : system_error(path, "cannot create the key file");
  ::unlink(unfinished.c_str());
  return status;
}

Result<KeyPair> read_key_file(const std::string& path) {
  start_sodium();
  const File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_open())
    return errno == ENOENT ? Status::not_found(path + ": no such key file; make one with: sidestep keygen")
                           : system_error(path, "cannot open the key file");
  struct stat about {};
  if (::fstat(file.fd(), &about) != 0) return system_error(path, "cannot look at the key file");
  if (!S_ISREG(about.st_mode)) return Status::invalid(path + ": not a key file: it is no regular file");
  if ((about.st_mode & 077) != 0) {
    std::array<char, 8> mode{};
    std::snprintf(mode.data(), mode.size(), "%04o", about.st_mode & 07777);
    return Status::refused(path + ": has mode " + mode.data() +
                           ", so that others than its owner may use the secret key; run: chmod 600 " + path);
  }
  SecretText text;
  const ssize_t size = read_all(file.fd(), text);
  if (size < 0) return system_error(path, "cannot read the key file");
  return parse(path, {text.chars.data(), static_cast<std::size_t>(size)});
}

BootId random_boot_id() {
  start_sodium();
  BootId boot = 0;
  while (boot == 0) randombytes_buf(&boot, sizeof boot);
  return boot;
}

}  // namespace sidestep::net
