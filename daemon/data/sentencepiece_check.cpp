#include "daemon/data/sentencepiece_check.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <vector>

namespace sidestep::daemon {
namespace {

std::optional<std::uint64_t> take_varint(std::string_view& bytes) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    value |= std::uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}

// Calls `visit` with number and content of each length-delimited field of a protobuf message; false if the
// message is malformed.
bool walk(std::string_view message, const std::function<bool(std::uint64_t, std::string_view)>& visit) {
  while (!message.empty()) {
    const auto tag = take_varint(message);
    if (!tag || *tag >> 3 == 0) return false;
    std::uint64_t size = 0;
    switch (*tag & 7) {
      case 0:
        if (!take_varint(message)) return false;
        break;
      case 1:
        size = 8;
        break;
      case 2: {
        const auto length = take_varint(message);
        if (!length || *length > message.size()) return false;
        size = *length;
        if (!visit(*tag >> 3, message.substr(0, size))) return false;
        break;
      }
      case 5:
        size = 4;
        break;
      default:
        return false;
    }
    if (size > message.size()) return false;
    message.remove_prefix(size);
  }
  return true;
}

// The normalizer's table: a size, a double-array trie of 32-bit units (darts-clone), and the
// zero-terminated strings that its values point at.
class Charsmap {
 public:
  explicit Charsmap(std::string_view table) {
    std::uint32_t trie_bytes = 0;
    if (table.size() <= sizeof(trie_bytes)) return;
    std::memcpy(&trie_bytes, table.data(), sizeof(trie_bytes));
    table.remove_prefix(sizeof(trie_bytes));
    if (trie_bytes >= table.size() || trie_bytes < sizeof(std::uint32_t)) return;
    units_.resize(trie_bytes / sizeof(std::uint32_t));
    std::memcpy(units_.data(), table.data(), units_.size() * sizeof(std::uint32_t));
    strings_ = table.substr(trie_bytes);
  }

  bool sound() {
    if (units_.empty() || strings_.back() != '\0') return false;
    const auto values = values_below(offset(units_[0]), 0);
    return values && *values <= values_max;
  }

 private:
  // The library keeps so many results of one look-up, and no rule is nearly as long as this.
  static constexpr unsigned values_max = 32, depth_max = 255;

  static std::uint32_t offset(std::uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }

  // The most values on a way down from the children at `base`; none if one leads outside or goes in a ring.
  std::optional<unsigned> values_below(std::uint32_t base, unsigned depth) {
    if (depth > depth_max) return std::nullopt;
    if (const auto known = known_.find(base); known != known_.end()) return known->second;
    unsigned most = 0;
    for (std::uint32_t label = 0; label < 256; ++label) {
      const std::uint32_t position = base ^ label;
      if (position >= units_.size()) return std::nullopt;
      const std::uint32_t unit = units_[position];
      if ((unit & ((1u << 31) | 0xffu)) != label) continue;
      const std::uint32_t next = position ^ offset(unit);
      const bool has_value = (unit >> 8 & 1) != 0;
      if (has_value && (next >= units_.size() || (units_[next] & ~(1u << 31)) >= strings_.size()))
        return std::nullopt;
      const auto below = values_below(next, depth + 1);
      if (!below) return std::nullopt;
      most = std::max(most, *below + (has_value ? 1 : 0));
    }
    known_.emplace(base, most);
    return most;
  }

  std::vector<std::uint32_t> units_;
  std::string_view strings_;
  std::map<std::uint32_t, unsigned> known_;
};

}  // namespace

std::string sentencepiece_problem(std::string_view model) {
  // Field numbers of sentencepiece_model.proto.
  constexpr std::uint64_t pieces_field = 1, trainer_field = 2, normalizer_field = 3, denormalizer_field = 5;
  constexpr std::uint64_t charsmap_field = 2;
  bool has_pieces = false, has_trainer = false, has_normalizer = false, charsmap_sound = true;
  const auto visit_spec = [&](std::uint64_t field, std::string_view content) {
    if (field == charsmap_field && !content.empty())
      charsmap_sound = charsmap_sound && Charsmap(content).sound();
    return true;
  };
  const bool whole = walk(model, [&](std::uint64_t field, std::string_view content) {
    has_pieces = has_pieces || field == pieces_field;
    has_trainer = has_trainer || field == trainer_field;
    has_normalizer = has_normalizer || field == normalizer_field;
    return (field != normalizer_field && field != denormalizer_field) || walk(content, visit_spec);
  });
  if (!has_pieces) return "is not a SentencePiece model";
  if (!whole || !has_trainer || !has_normalizer) return "is cut short or damaged";
  if (!charsmap_sound) return "is damaged: its normalizer's table points outside itself";
  return "";
}

}  // namespace sidestep::daemon
