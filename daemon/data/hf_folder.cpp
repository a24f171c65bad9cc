#include "daemon/data/hf_folder.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "daemon/data/safetensors_header.h"
#include "net/digest.h"
#include "scheduler/options.h"

namespace sidestep::daemon {
namespace {

namespace fs = std::filesystem;

std::string in_folder(const std::string& folder, const std::string& name) {
  return (fs::path(folder) / name).string();
}

bool exists(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// Of a file in the same folder: an index that comes from elsewhere must not lead out of it.
bool is_plain_name(const std::string& name) {
  return name.ends_with(".safetensors") && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

}  // namespace

Result<HfFolder> HfFolder::open(const std::string& path) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored))
    return Status::not_found(path +
                             ": is not a folder; a model is a folder with config.json and its weights");
  HfFolder folder;
  folder.path_ = path;
  if (Status status = folder.read_config(); !status.ok()) return status;
  if (Status status = folder.read_weights(); !status.ok()) return status;
  return folder;
}

Status HfFolder::read_config() {
  const std::string path = in_folder(path_, config_file_name);
  const auto json = scheduler::load_json_file(path);
  if (!json.ok()) return json.status();
  auto model = parse_hf_config(json.value(), path);
  if (!model.ok()) return model.status();
  model_ = std::move(model.value());
  auto notes = parse_export_notes(json.value(), path);
  if (!notes.ok()) return notes.status();
  notes_ = std::move(notes.value());
  special_tokens_ = parse_special_tokens(json.value());
  digest_ = json.value().dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  return {};
}

Status HfFolder::read_weights() {
  // The order in which transformers looks.
  if (exists(in_folder(path_, weights_file_name))) {
    if (Status status = add_file(weights_file_name); !status.ok()) return status;
    const auto& file = files_.at(weights_file_name);
    for (const auto& [name, tensor] : file->content().tensors) places_[name] = {file, &tensor};
  } else if (exists(in_folder(path_, index_file_name))) {
    if (Status status = read_indexed(); !status.ok()) return status;
  } else {
    const bool pickled = exists(in_folder(path_, "pytorch_model.bin")) ||
                         exists(in_folder(path_, "pytorch_model.bin.index.json"));
    return Status::not_found(
        path_ + ": has neither " + weights_file_name + " nor " + index_file_name +
        (pickled ? "; pytorch_model.bin is not read, save the model as safetensors" : ""));
  }
  digest_ = net::sha256(std::as_bytes(std::span(digest_)));
  return {};
}

Status HfFolder::add_file(const std::string& name) {
  auto file = SafetensorsFile::open(in_folder(path_, name));
  if (!file.ok()) return file.status();
  const std::span<const std::byte> header = file.value()->content().header;
  digest_ += "\n" + name + " " + std::to_string(file.value()->bytes()) + "\n";
  digest_.append(reinterpret_cast<const char*>(header.data()), header.size());
  files_.emplace(name, std::move(file.value()));
  return {};
}

Status HfFolder::read_indexed() {
  const std::string path = in_folder(path_, index_file_name);
  const auto json = scheduler::load_json_file(path);
  if (!json.ok()) return json.status();
  const auto map = json.value().is_object() ? json.value().find("weight_map") : json.value().end();
  if (map == json.value().end() || !map->is_object())
    return Status::invalid(path + ": \"weight_map\" is missing, or is no object of tensor and file names");
  for (const auto& [name, value] : map->items()) {
    if (!value.is_string() || !is_plain_name(value.get<std::string>()))
      return Status::invalid(path + ": tensor " + quoted_name(name) + ": " + scheduler::describe(value) +
                             " is not the name of a .safetensors file in the same folder");
    const auto file_name = value.get<std::string>();
    if (!files_.contains(file_name))
      if (Status status = add_file(file_name); !status.ok()) return status;
    const auto& file = files_.at(file_name);
    const auto tensor = file->content().tensors.find(name);
    if (tensor == file->content().tensors.end())
      return Status::invalid(file->path() + ": tensor " + quoted_name(name) + " is missing; " +
                             index_file_name + " says that it is here");
    places_[name] = {file, &tensor->second};
  }
  for (const auto& [file_name, file] : files_)
    for (const auto& [name, tensor] : file->content().tensors)
      if (places_[name].file != file)
        return Status::invalid(file->path() + ": tensor " + quoted_name(name) + " is here, but " +
                               index_file_name + " does not say so");
  return {};
}

Result<std::string> HfFolder::content_digest() const {
  std::string content = digest_;
  for (const auto& [name, place] : places_) {
    if (Status status = place.file->verify(*place.tensor); !status.ok()) return status;
    if (!place.file->content().metadata.contains(digest_key(name)))
      content += "\n" + name + " " + net::sha256(place.tensor->bytes);
  }
  return content == digest_ ? digest_ : net::sha256(std::as_bytes(std::span(content)));
}

std::vector<std::string> HfFolder::files() const {
  std::vector<std::string> paths{in_folder(path_, config_file_name)};
  if (!files_.contains(weights_file_name)) paths.push_back(in_folder(path_, index_file_name));
  for (const auto& [name, file] : files_) paths.push_back(file->path());
  return paths;
}

std::vector<std::string> HfFolder::names() const {
  std::vector<std::string> all;
  for (const auto& [name, place] : places_) all.push_back(name);
  return all;
}

const StoredTensor* HfFolder::find(const std::string& name) const {
  const auto place = places_.find(name);
  return place == places_.end() ? nullptr : place->second.tensor;
}

Result<StoredTensor> HfFolder::tensor(const std::string& name) const {
  const auto place = places_.find(name);
  if (place == places_.end())
    return Status::not_found(path_ + ": tensor " + quoted_name(name) + " is missing");
  const auto& [file, tensor] = place->second;
  if (Status status = file->verify(*tensor); !status.ok()) return status;
  return *tensor;
}

}  // namespace sidestep::daemon
