#include "daemon/data/hf_export.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "daemon/data/atomic_output.h"
#include "daemon/data/hf_config.h"
#include "daemon/data/hf_folder.h"
#include "net/assert.h"

namespace sidestep::daemon {
namespace {

namespace fs = std::filesystem;

constexpr std::array companion_names{"tokenizer.json",
                                     "tokenizer.model",
                                     "tokenizer_config.json",
                                     "special_tokens_map.json",
                                     "added_tokens.json",
                                     "vocab.json",
                                     "merges.txt",
                                     "generation_config.json",
                                     "chat_template.jinja"};

struct Shard {
  std::string name;
  std::vector<TensorInfo> tensors;
};

std::uint64_t stored_bytes(const TensorInfo& tensor) {
  return static_cast<std::uint64_t>(tensor.elements()) * bytes_of(tensor.type);
}

std::string shard_name(std::size_t number, std::size_t count) {
  std::array<char, 64> name;
  std::snprintf(name.data(), name.size(), "model-%05zu-of-%05zu.safetensors", number, count);
  return name.data();
}

std::vector<Shard> shards_of(const std::vector<TensorInfo>& tensors, std::uint64_t bytes_max) {
  std::vector<Shard> shards;
  std::uint64_t bytes = 0;
  for (const TensorInfo& tensor : tensors) {
    const std::uint64_t more = stored_bytes(tensor);
    if (shards.empty() || (bytes > 0 && bytes + more > bytes_max)) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().tensors.push_back(tensor);
    bytes += more;
  }
  for (std::size_t i = 0; i < shards.size(); ++i)
    shards[i].name = shards.size() == 1 ? weights_file_name : shard_name(i + 1, shards.size());
  return shards;
}

std::string index_of(const std::vector<Shard>& shards) {
  nlohmann::json map = nlohmann::json::object();
  std::uint64_t bytes = 0;
  for (const Shard& shard : shards) {
    for (const TensorInfo& tensor : shard.tensors) {
      map[tensor.name] = shard.name;
      bytes += stored_bytes(tensor);
    }
  }
  return nlohmann::json{{"metadata", {{"total_size", bytes}}}, {"weight_map", std::move(map)}}.dump(2) + "\n";
}

bool belongs_to_export(const std::string& name) {
  return name == config_file_name || name == index_file_name || name == recoveries_file_name ||
         (name.starts_with("model") && name.ends_with(".safetensors")) ||
         std::find(companion_names.begin(), companion_names.end(), name) != companion_names.end();
}

// Those that are not in `to` already.
Status copy_companions(const std::string& from, const std::string& to) {
  for (const char* name : companion_names) {
    std::error_code error;
    const fs::path source = fs::path(from) / name;
    if (!fs::is_regular_file(source, error) || fs::exists(fs::path(to) / name, error)) continue;
    if (!fs::copy_file(source, fs::path(to) / name, error))
      return Status::io(source.string() + ": cannot be copied: " + error.message());
  }
  return {};
}

const char* torch_name(ElementType type) {
  switch (type) {
    case ElementType::f32:
      return "float32";
    case ElementType::bf16:
      return "bfloat16";
    case ElementType::f16:
      return "float16";
    default:
      return nullptr;
  }
}

}  // namespace

// Only an export is replaced: a wrong path must not cost anybody a folder.
Status check_export_place(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) return {};
  if (status.type() != fs::file_type::directory) return Status::refused(path + ": is there and is no folder");
  fs::directory_iterator entries(path, error);
  if (error) return Status::io(path + ": cannot be read: " + error.message());
  for (const fs::directory_entry& entry : entries) {
    const std::string name = entry.path().filename().string();
    if (!belongs_to_export(name))
      return Status::refused(path + ": holds \"" + name +
                             "\", which is no part of an export and would be lost; name another folder");
  }
  return {};
}

Status write_hf_folder(const std::string& path, const scheduler::ModelSpec& model,
                       const std::vector<TensorInfo>& tensors, const TensorSource& source,
                       const HfExportOptions& options) {
  SIDESTEP_ASSERT(!tensors.empty());
  const char* dtype = torch_name(tensors.front().type);
  SIDESTEP_ASSERT(dtype != nullptr);
  if (Status status = check_export_place(path); !status.ok()) return status;
  auto created = AtomicFolder::create(path);
  if (!created.ok()) return created.status();
  const fs::path folder = created.value().partial();
  const auto write = [&]() -> Status {
    const std::vector<Shard> shards = shards_of(tensors, options.shard_bytes_max);
    for (const Shard& shard : shards)
      if (Status status = write_safetensors((folder / shard.name).string(), shard.tensors, source);
          !status.ok())
        return status;
    if (shards.size() > 1)
      if (Status status = write_file((folder / index_file_name).string(), index_of(shards)); !status.ok())
        return status;
    if (!options.companions.empty())
      if (Status status = copy_companions(options.companions, folder.string()); !status.ok()) return status;
    // What somebody put beside the older export is still theirs to keep.
    if (Status status = copy_companions(path, folder.string()); !status.ok()) return status;
    if (!options.recoveries.is_null())
      if (Status status =
              write_file((folder / recoveries_file_name).string(), options.recoveries.dump(2) + "\n");
          !status.ok())
        return status;
    return write_file((folder / config_file_name).string(),
                      hf_config(model, dtype, options.notes).dump(2) + "\n");
  };
  if (Status status = write(); !status.ok()) return status.with_context(path + ": the export failed");
  return created.value().commit();
}

}  // namespace sidestep::daemon
