#include "daemon/data/safetensors_writer.h"

#include <cstring>
#include <nlohmann/json.hpp>

#include "daemon/data/atomic_output.h"
#include "net/digest.h"

namespace sidestep::daemon {
namespace {

std::uint64_t payload_bytes(const TensorInfo& tensor) {
  return static_cast<std::uint64_t>(tensor.elements()) * bytes_of(tensor.type);
}

// Length, JSON and spaces up to a multiple of 8, which aligns the tensors. Of one length whatever the digests
// are, since a SHA-256 is written in a fixed number of letters.
std::string header_of(const std::vector<TensorInfo>& tensors, const std::vector<std::string>& digests) {
  constexpr std::size_t alignment = 8;
  nlohmann::json header;
  nlohmann::json& metadata = header["__metadata__"];
  metadata["format"] = "pt";  // which of their own layouts readers should expect: PyTorch's
  std::uint64_t offset = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::uint64_t end = offset + payload_bytes(tensors[i]);
    header[tensors[i].name] = {
        {"dtype", to_string(tensors[i].type)}, {"shape", tensors[i].shape}, {"data_offsets", {offset, end}}};
    metadata[digest_key(tensors[i].name)] = digests[i];
    offset = end;
  }
  std::string text = header.dump();
  text.append((alignment - text.size() % alignment) % alignment, ' ');
  const auto length = static_cast<std::uint64_t>(text.size());
  std::string whole(sizeof length, '\0');
  std::memcpy(whole.data(), &length, sizeof length);
  return whole + text;
}

}  // namespace

Status write_safetensors(const std::string& path, const std::vector<TensorInfo>& tensors,
                         const TensorSource& source) {
  auto created = AtomicFile::create(path);
  if (!created.ok()) return created.status();
  AtomicFile& file = created.value();
  std::vector<std::string> digests(tensors.size(), net::sha256({}));
  const std::string draft = header_of(tensors, digests);
  if (Status status = file.write(std::as_bytes(std::span(draft))); !status.ok()) return status;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Result<net::Payload> payload = source(tensors[i]);
    if (!payload.ok()) return payload.status().with_context(path + ": tensor \"" + tensors[i].name + "\"");
    if (payload.value().size() != payload_bytes(tensors[i]))
      return Status::internal(path + ": tensor \"" + tensors[i].name + "\": its source gave " +
                              std::to_string(payload.value().size()) + " bytes, shape " +
                              shape_text(tensors[i].shape) + " takes " +
                              std::to_string(payload_bytes(tensors[i])));
    const std::span bytes(payload.value().data(), payload.value().size());
    digests[i] = net::sha256(bytes);
    if (Status status = file.write(bytes); !status.ok()) return status;
  }
  const std::string header = header_of(tensors, digests);
  SIDESTEP_ASSERT(header.size() == draft.size());
  if (Status status = file.rewrite(0, std::as_bytes(std::span(header))); !status.ok()) return status;
  return file.commit();
}

}  // namespace sidestep::daemon
