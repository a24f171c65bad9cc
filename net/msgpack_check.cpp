#include "net/msgpack_check.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "net/utf8.h"

namespace sidestep::net {
namespace {

// What a type byte announces. `length_bytes` hold a length after it; fixed forms have it in `length`.
struct Form {
  enum Kind { scalar, text, binary, list, map, unknown } kind;
  std::size_t length_bytes = 0;
  std::size_t length = 0;  // scalar: bytes that follow
};

Form form_of(std::uint8_t type) {
  if (type <= 0x7f || type >= 0xe0) return {Form::scalar};
  if (type <= 0x8f) return {Form::map, 0, std::size_t{type} & 15};
  if (type <= 0x9f) return {Form::list, 0, std::size_t{type} & 15};
  if (type <= 0xbf) return {Form::text, 0, std::size_t{type} & 31};
  switch (type) {
    case 0xc0:
    case 0xc2:
    case 0xc3:
      return {Form::scalar};
    case 0xc4:
      return {Form::binary, 1};
    case 0xc5:
      return {Form::binary, 2};
    case 0xc6:
      return {Form::binary, 4};
    case 0xcc:
    case 0xd0:
      return {Form::scalar, 0, 1};
    case 0xcd:
    case 0xd1:
      return {Form::scalar, 0, 2};
    case 0xca:
    case 0xce:
    case 0xd2:
      return {Form::scalar, 0, 4};
    case 0xcb:
    case 0xcf:
    case 0xd3:
      return {Form::scalar, 0, 8};
    case 0xd9:
      return {Form::text, 1};
    case 0xda:
      return {Form::text, 2};
    case 0xdb:
      return {Form::text, 4};
    case 0xdc:
      return {Form::list, 2};
    case 0xdd:
      return {Form::list, 4};
    case 0xde:
      return {Form::map, 2};
    case 0xdf:
      return {Form::map, 4};
    default:
      return {Form::unknown};
  }
}

class Checker {
 public:
  Checker(std::span<const std::byte> bytes, const MsgpackLimits& limits) : bytes_(bytes), limits_(limits) {}

  Status run() {
    open_.push_back({.entries = 1, .is_map = false});
    while (!open_.empty()) {
      if (open_.back().entries == 0) {
        open_.pop_back();
        continue;
      }
      if (Status status = value(); !status.ok()) return status;
    }
    if (at_ != bytes_.size()) return error("bytes after the end");
    return {};
  }

 private:
  // A list or map under way; a map counts its keys and values.
  struct Open {
    std::size_t entries;
    bool is_map;
  };

  std::size_t left() const { return bytes_.size() - at_; }
  std::uint8_t byte(std::size_t i) const { return std::to_integer<std::uint8_t>(bytes_[i]); }

  Status error(const std::string& what) const {
    return Status::invalid(what + " at byte " + std::to_string(at_));
  }

  Status value() {
    const bool is_key = open_.back().is_map && open_.back().entries % 2 == 0;
    --open_.back().entries;
    if (++values_ > limits_.values_max)
      return error("more than " + std::to_string(limits_.values_max) + " values");
    if (left() == 0) return error("truncated");
    Form form = form_of(byte(at_));
    if (form.kind == Form::unknown) return error("unsupported MessagePack type " + std::to_string(byte(at_)));
    if (is_key && form.kind != Form::text) return error("a map key that is no text");
    ++at_;
    if (form.length_bytes > left()) return error("truncated");
    for (std::size_t i = 0; i < form.length_bytes; ++i) form.length = form.length << 8 | byte(at_++);

    if (form.kind == Form::list || form.kind == Form::map) return open(form);
    if (form.length > left())
      return error("a length of " + std::to_string(form.length) + " with " + std::to_string(left()) +
                   " bytes left");
    if (form.kind == Form::text &&
        !is_utf8({reinterpret_cast<const char*>(bytes_.data()) + at_, form.length}))
      return error("text that is not UTF-8");
    at_ += form.length;
    return {};
  }

  Status open(const Form& form) {
    const std::size_t entries = form.kind == Form::map ? 2 * form.length : form.length;
    // Every entry takes a byte at least: a huge count is found out here, not after reading.
    if (entries > left())
      return error("a list of " + std::to_string(form.length) + " entries with " + std::to_string(left()) +
                   " bytes left");
    if (open_.size() > limits_.depth_max)
      return error("nested more than " + std::to_string(limits_.depth_max) + " deep");
    open_.push_back({entries, form.kind == Form::map});
    return {};
  }

  std::span<const std::byte> bytes_;
  MsgpackLimits limits_;
  std::size_t at_ = 0;
  std::size_t values_ = 0;
  std::vector<Open> open_;
};

}  // namespace

Status check_msgpack(std::span<const std::byte> bytes, const MsgpackLimits& limits) {
  return Checker(bytes, limits).run();
}

}  // namespace sidestep::net
