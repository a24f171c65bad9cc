#include "net/invite.h"

#include <sodium.h>

#include <algorithm>
#include <vector>

#include "net/address.h"
#include "net/assert.h"

namespace sidestep::net {
namespace {

constexpr std::string_view word = "sidestep-invite-";
constexpr std::string_view version = "1";
constexpr std::size_t key_bytes = 32;
constexpr std::size_t checksum_bytes = 8;
constexpr std::size_t address_bytes_max = 300;
constexpr int alphabet = sodium_base64_VARIANT_URLSAFE_NO_PADDING;

using Bytes = std::vector<std::uint8_t>;

Bytes checksum_of(const std::uint8_t* data, std::size_t size) {
  Bytes sum(crypto_generichash_BYTES_MIN);
  SIDESTEP_ASSERT(crypto_generichash(sum.data(), sum.size(), data, size, nullptr, 0) == 0);
  sum.resize(checksum_bytes);
  return sum;
}

std::string to_base64(const Bytes& bytes) {
  std::string text(sodium_base64_encoded_len(bytes.size(), alphabet), '\0');
  sodium_bin2base64(text.data(), text.size(), bytes.data(), bytes.size(), alphabet);
  text.pop_back();  // the terminating zero
  return text;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view space = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(space);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(space) - begin + 1);
}

}  // namespace

std::string invite_token(const Invite& invite) {
  SIDESTEP_ASSERT(parse_address(invite.scheduler_address, AddressUse::connect).ok());
  Bytes bytes(invite.scheduler.bytes.begin(), invite.scheduler.bytes.end());
  bytes.insert(bytes.end(), invite.secret.bytes().begin(), invite.secret.bytes().end());
  bytes.insert(bytes.end(), invite.scheduler_address.begin(), invite.scheduler_address.end());
  const Bytes sum = checksum_of(bytes.data(), bytes.size());
  bytes.insert(bytes.end(), sum.begin(), sum.end());
  std::string token = std::string(word) + std::string(version) + '-' + to_base64(bytes);
  sodium_memzero(bytes.data(), bytes.size());
  return token;
}

Result<Invite> parse_invite_token(std::string_view text) {
  text = trimmed(text);
  if (!text.starts_with(word))
    return Status::invalid("not an invite: one begins with \"" + std::string(word) +
                           "\", as `sidestep invite` prints it");
  text.remove_prefix(word.size());
  const std::size_t dash = text.find('-');
  const std::string_view its_version = text.substr(0, dash);
  if (dash == std::string_view::npos || its_version.empty() ||
      its_version.find_first_not_of("0123456789") != std::string_view::npos)
    return Status::invalid("the invite is cut short or mistyped: it has no version");
  if (its_version != version)
    return Status::invalid("the invite is of version " + std::string(its_version) +
                           ", this program knows version " + std::string(version) +
                           ": run the scheduler's release here");
  text.remove_prefix(dash + 1);
  const Status mistyped = Status::invalid(
      "the invite is cut short or mistyped: its checksum is wrong; copy the whole line that `sidestep "
      "invite` printed");
  constexpr std::size_t least = 2 * key_bytes + checksum_bytes + 1;
  Bytes bytes(least + address_bytes_max);
  std::size_t size = 0;
  if (sodium_base642bin(bytes.data(), bytes.size(), text.data(), text.size(), nullptr, &size, nullptr,
                        alphabet) != 0 ||
      size < least)
    return mistyped;
  bytes.resize(size);
  const std::size_t body = size - checksum_bytes;
  if (to_base64(bytes) != text || !std::equal(bytes.begin() + static_cast<std::ptrdiff_t>(body), bytes.end(),
                                              checksum_of(bytes.data(), body).begin()))
    return mistyped;

  Invite invite;
  std::copy_n(bytes.begin(), key_bytes, invite.scheduler.bytes.begin());
  std::array<std::uint8_t, key_bytes> secret{};
  std::copy_n(bytes.begin() + key_bytes, key_bytes, secret.begin());
  invite.secret = SecretKey(secret);
  sodium_memzero(secret.data(), secret.size());
  invite.scheduler_address.assign(bytes.begin() + 2 * key_bytes,
                                  bytes.begin() + static_cast<std::ptrdiff_t>(body));
  sodium_memzero(bytes.data(), bytes.size());
  if (const auto address = parse_address(invite.scheduler_address, AddressUse::connect); !address.ok())
    return address.status().with_context("the invite's scheduler");
  return invite;
}

}  // namespace sidestep::net
