// Reading safetensors files, the format of Hugging Face's weights: 8 bytes of header length, a JSON header
// that names each tensor's type, shape and place, and the tensors' bytes, without gaps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/data/mapped_file.h"
#include "net/status.h"

namespace sidestep::daemon {

// The format's types that have whole bytes, by the format's names.
enum class ElementType {
  boolean,
  u8,
  i8,
  f8_e4m3,
  f8_e5m2,
  u16,
  i16,
  f16,
  bf16,
  u32,
  i32,
  f32,
  u64,
  i64,
  f64
};

std::string_view to_string(ElementType type);
std::optional<ElementType> element_type(std::string_view name);
std::size_t bytes_of(ElementType type);

// "[2, 3]", as messages show shapes.
std::string shape_text(const std::vector<std::int64_t>& shape);

struct TensorInfo {
  std::string name;
  ElementType type = ElementType::f32;
  std::vector<std::int64_t> shape;  // row-major, little-endian; [] is one element

  // Precondition: the product is within int64, as it is in every file that was read.
  std::int64_t elements() const;
};

// A tensor in a file; the bytes are the file's own and may lie at any address.
struct StoredTensor {
  TensorInfo info;
  std::span<const std::byte> bytes;
};

struct SafetensorsContent {
  std::map<std::string, StoredTensor> tensors;
  std::map<std::string, std::string> metadata;  // "__metadata__"
  std::span<const std::byte> header;            // the JSON text
};

// Takes apart the content of a file without copying tensors. Memory is bounded by the header's length, which
// is bounded by the content's. Every failure is Status invalid that names `source`, the tensor and what is
// wrong: cut short, header too long or not of the format, unknown type, overlap, gap, shape and bytes that do
// not fit together.
Result<SafetensorsContent> parse_safetensors(std::span<const std::byte> content, const std::string& source);

// The metadata key under which our files keep the SHA-256 of a tensor's bytes (net/digest.h): the format
// itself does not notice a flipped bit.
std::string digest_key(const std::string& tensor);

// Owner: whoever opened it; tensors read from it live as long. Immutable; any thread may read.
class SafetensorsFile {
 public:
  static Result<std::shared_ptr<const SafetensorsFile>> open(const std::string& path);

  const std::string& path() const { return file_->path(); }
  std::uint64_t bytes() const { return file_->bytes().size(); }
  const SafetensorsContent& content() const { return content_; }
  // Compares a tensor's bytes with its digest, where the file has one. Precondition: the tensor is of this
  // file.
  Status verify(const StoredTensor& tensor) const;

 private:
  SafetensorsFile() = default;

  std::shared_ptr<const MappedFile> file_;
  SafetensorsContent content_;
};

}  // namespace sidestep::daemon
