#include "daemon/data/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <tuple>

#include "daemon/data/safetensors_header.h"
#include "net/assert.h"
#include "net/digest.h"

namespace sidestep::daemon {
namespace {

constexpr std::uint64_t length_bytes = 8;
// The format's own limit.
constexpr std::uint64_t header_bytes_max = 100'000'000;

struct TypeRow {
  ElementType type;
  std::string_view name;
  std::size_t bytes;
};
constexpr std::array type_rows{
    TypeRow{ElementType::boolean, "BOOL", 1},    TypeRow{ElementType::u8, "U8", 1},
    TypeRow{ElementType::i8, "I8", 1},           TypeRow{ElementType::f8_e4m3, "F8_E4M3", 1},
    TypeRow{ElementType::f8_e5m2, "F8_E5M2", 1}, TypeRow{ElementType::u16, "U16", 2},
    TypeRow{ElementType::i16, "I16", 2},         TypeRow{ElementType::f16, "F16", 2},
    TypeRow{ElementType::bf16, "BF16", 2},       TypeRow{ElementType::u32, "U32", 4},
    TypeRow{ElementType::i32, "I32", 4},         TypeRow{ElementType::f32, "F32", 4},
    TypeRow{ElementType::u64, "U64", 8},         TypeRow{ElementType::i64, "I64", 8},
    TypeRow{ElementType::f64, "F64", 8}};

const TypeRow& row_of(ElementType type) {
  const auto row = std::find_if(type_rows.begin(), type_rows.end(),
                                [&](const TypeRow& candidate) { return candidate.type == type; });
  SIDESTEP_ASSERT(row != type_rows.end());
  return *row;
}

template <class Numbers>
std::string list_text(const Numbers& numbers) {
  std::string text = "[";
  for (std::size_t i = 0; i < numbers.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(numbers[i]);
  return text + "]";
}

// Bytes of that many elements, if they can be counted.
std::optional<std::uint64_t> size_of_shape(const std::vector<std::uint64_t>& shape, std::size_t element) {
  constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  std::uint64_t bytes = element;
  bool empty = false;
  for (const std::uint64_t extent : shape) {
    if (extent > most) return std::nullopt;
    if (extent == 0) {
      empty = true;
      continue;
    }
    if (bytes > most / extent) return std::nullopt;
    bytes *= extent;
  }
  return empty ? 0 : bytes;
}

Status check_entry(const HeaderEntry& entry) {
  const auto wrong = [&](const std::string& what) {
    return Status::invalid("tensor " + quoted_name(entry.name) + ": " + what);
  };
  const auto type = element_type(entry.type);
  if (!type) {
    std::string known;
    for (const TypeRow& row : type_rows) known += (known.empty() ? "" : ", ") + std::string(row.name);
    return wrong("type " + quoted_name(entry.type) + " is not known; known: " + known);
  }
  if (entry.offsets.size() != 2 || entry.offsets[0] > entry.offsets[1])
    return wrong("data_offsets " + list_text(entry.offsets) + " are no begin and end");
  const auto bytes = size_of_shape(entry.shape, bytes_of(*type));
  if (!bytes) return wrong("shape " + list_text(entry.shape) + " is too large");
  const std::uint64_t given = entry.offsets[1] - entry.offsets[0];
  if (*bytes != given)
    return wrong("shape " + list_text(entry.shape) + " of " + entry.type + " takes " +
                 std::to_string(*bytes) + " bytes, data_offsets give " + std::to_string(given));
  return {};
}

// Sorted by place, each entry begins where the one before it ends, and the last ends with the data.
Status check_places(std::vector<HeaderEntry>& entries, std::uint64_t data_bytes) {
  std::sort(entries.begin(), entries.end(), [](const HeaderEntry& a, const HeaderEntry& b) {
    return std::tie(a.offsets, a.name) < std::tie(b.offsets, b.name);
  });
  std::uint64_t end = 0;
  const HeaderEntry* before = nullptr;
  for (const HeaderEntry& entry : entries) {
    const std::uint64_t begin = entry.offsets[0];
    if (begin < end)
      return Status::invalid("tensor " + quoted_name(entry.name) + ": overlaps tensor " +
                             quoted_name(before->name) + " by " + std::to_string(end - begin) + " bytes");
    if (begin > end)
      return Status::invalid("tensor " + quoted_name(entry.name) + ": there is a gap of " +
                             std::to_string(begin - end) + " bytes before it");
    end = entry.offsets[1];
    before = &entry;
    if (end > data_bytes)
      return Status::invalid("tensor " + quoted_name(entry.name) + ": ends at byte " + std::to_string(end) +
                             " of the data, which has only " + std::to_string(data_bytes) +
                             "; the file is cut short");
  }
  if (end < data_bytes)
    return Status::invalid(std::to_string(data_bytes - end) + " bytes follow the last tensor");
  return {};
}

Result<SafetensorsContent> parse(std::span<const std::byte> content) {
  if (content.size() < length_bytes)
    return Status::invalid("has " + std::to_string(content.size()) +
                           " bytes, a safetensors file begins with 8 of header length");
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, content.data(), length_bytes);
  const std::uint64_t rest = content.size() - length_bytes;
  if (header_bytes > header_bytes_max)
    return Status::invalid("the header would be " + std::to_string(header_bytes) + " bytes long, at most " +
                           std::to_string(header_bytes_max) + " are allowed; is this a safetensors file?");
  if (header_bytes > rest)
    return Status::invalid("the header is " + std::to_string(header_bytes) + " bytes long, only " +
                           std::to_string(rest) + " follow; the file is cut short");
  SafetensorsContent result;
  result.header = content.subspan(length_bytes, header_bytes);
  auto header =
      parse_safetensors_header({reinterpret_cast<const char*>(result.header.data()), result.header.size()});
  if (!header.ok()) return header.status().with_context("header");

  std::vector<HeaderEntry>& entries = header.value().entries;
  for (const HeaderEntry& entry : entries)
    if (Status status = check_entry(entry); !status.ok()) return status;
  if (Status status = check_places(entries, rest - header_bytes); !status.ok()) return status;

  const auto data = content.subspan(length_bytes + header_bytes);
  for (HeaderEntry& entry : entries) {
    StoredTensor tensor{.info = {.name = entry.name,
                                 .type = *element_type(entry.type),
                                 .shape = {entry.shape.begin(), entry.shape.end()}},
                        .bytes = data.subspan(entry.offsets[0], entry.offsets[1] - entry.offsets[0])};
    result.tensors.emplace(std::move(entry.name), std::move(tensor));
  }
  result.metadata = std::move(header.value().metadata);
  return result;
}

}  // namespace

std::string_view to_string(ElementType type) { return row_of(type).name; }

std::optional<ElementType> element_type(std::string_view name) {
  for (const TypeRow& row : type_rows)
    if (row.name == name) return row.type;
  return std::nullopt;
}

std::size_t bytes_of(ElementType type) { return row_of(type).bytes; }

std::string shape_text(const std::vector<std::int64_t>& shape) { return list_text(shape); }

std::int64_t TensorInfo::elements() const {
  std::int64_t product = 1;
  for (const std::int64_t extent : shape) product *= extent;
  return product;
}

Result<SafetensorsContent> parse_safetensors(std::span<const std::byte> content, const std::string& source) {
  auto result = parse(content);
  if (!result.ok()) return result.status().with_context(source);
  return result;
}

std::string digest_key(const std::string& tensor) { return "digest " + tensor; }

Result<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::open(const std::string& path) {
  auto file = MappedFile::open(path);
  if (!file.ok()) return file.status();
  auto content = parse_safetensors(file.value()->bytes(), path);
  if (!content.ok()) return content.status();
  std::shared_ptr<SafetensorsFile> opened(new SafetensorsFile());
  opened->file_ = std::move(file.value());
  opened->content_ = std::move(content.value());
  return std::shared_ptr<const SafetensorsFile>(std::move(opened));
}

Status SafetensorsFile::verify(const StoredTensor& tensor) const {
  const auto digest = content_.metadata.find(digest_key(tensor.info.name));
  if (digest == content_.metadata.end() || digest->second == net::sha256(tensor.bytes)) return {};
  return Status::invalid(
      path() + ": tensor " + quoted_name(tensor.info.name) +
      ": its bytes are not the ones that were written; the file is damaged, copy it again");
}

}  // namespace sidestep::daemon
