#include "daemon/data/snapshot_store.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <vector>

#include "daemon/data/safetensors_writer.h"
#include "daemon/data/snapshot_names.h"
#include "net/assert.h"

namespace sidestep::daemon {
namespace {

namespace fs = std::filesystem;

constexpr const char* weights_name = "weights";
constexpr std::size_t commits_kept = 3;
constexpr std::size_t opened_max = 8;

Status check_name(const std::string& job) {
  return is_plain_name(job) ? Status() : Status::invalid("a job of that name cannot have snapshots");
}

std::optional<std::uint64_t> commit_of(const fs::path& folder) {
  const std::string name = folder.filename().string();
  std::uint64_t commit = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), commit);
  if (error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return commit;
}

std::vector<fs::path> folders_in(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error))
    if (entry.is_directory(error)) found.push_back(entry.path());
  return found;
}

}  // namespace

std::vector<std::uint64_t> commits_to_delete(const std::vector<std::uint64_t>& newest_first,
                                             std::uint64_t saved, std::uint64_t keep) {
  std::vector<std::uint64_t> gone;
  std::size_t kept = 1;  // the one just saved, whatever the clock says
  for (const std::uint64_t commit : newest_first)
    if (commit != saved && kept++ >= commits_kept && commit != keep) gone.push_back(commit);
  return gone;
}

Result<SavedStage> SnapshotStore::save(const std::string& job, std::uint64_t commit, std::uint32_t stage,
                                       const net::Tensor& weights, std::uint64_t keep) {
  SIDESTEP_ASSERT(weights.dtype == net::DType::float32 && weights.shape.size() == 1);
  if (folder_.empty()) return Status::refused("this process keeps no snapshots: it has no data folder");
  if (Status status = check_name(job); !status.ok()) return status;
  const fs::path folder = fs::path(folder_) / job / std::to_string(commit);
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return Status::io(folder.string() + ": cannot be made: " + error.message());
  const std::string path = (folder / stage_file_name(stage)).string();
  opened_.erase(path);
  Result<SavedStage> saved = write(path, weights);
  if (saved.ok()) {
    prune(job, commit, keep);
  } else {
    fs::remove(path, error);
    fs::remove(folder, error);  // if it is empty: another stage may be in it
  }
  return saved;
}

Result<SavedStage> SnapshotStore::write(const std::string& path, const net::Tensor& weights) {
  const TensorInfo info{.name = weights_name, .type = ElementType::f32, .shape = weights.shape};
  const TensorSource source = [&](const TensorInfo&) { return Result<net::Payload>(weights.payload); };
  if (Status status = write_safetensors(path, {info}, source); !status.ok()) return status;
  // What a reader will find, not what was meant to be written.
  const auto file = open(path);
  if (!file.ok()) return file.status();
  const auto& content = file.value()->content();
  return SavedStage{static_cast<std::uint64_t>(content.tensors.at(weights_name).info.elements()),
                    content.metadata.at(digest_key(weights_name))};
}

Result<SnapshotStore::File> SnapshotStore::open(const std::string& path) {
  if (const auto known = opened_.find(path); known != opened_.end()) return known->second;
  auto file = SafetensorsFile::open(path);
  if (!file.ok()) return file.status();
  if (!file.value()->content().tensors.contains(weights_name))
    return Status::invalid(path + ": is no snapshot: it has no tensor \"" + weights_name + "\"");
  if (opened_.size() >= opened_max) opened_.clear();
  opened_.emplace(path, file.value());
  return file.value();
}

Result<net::Tensor> SnapshotStore::read(const net::SliceRequest& request) {
  if (Status status = check_name(request.job); !status.ok()) return status;
  const std::string what = "the snapshot of stage " + std::to_string(request.stage) + " at commit " +
                           std::to_string(request.commit) + " of job " + request.job;
  if (request.part != net::SnapshotPart::weights)
    return Status::not_found(what + " has weights only, no moments");
  const fs::path path =
      fs::path(folder_) / request.job / std::to_string(request.commit) / stage_file_name(request.stage);
  std::error_code error;
  if (folder_.empty() || !fs::exists(path, error))
    return Status::not_found(
        what + " is not here, or no longer: the states of the last \"snapshots_kept\" jobs are kept");
  const auto file = open(path.string());
  if (!file.ok()) return file.status();
  const StoredTensor& stored = file.value()->content().tensors.at(weights_name);
  const auto elements = static_cast<std::uint64_t>(stored.info.elements());
  if (stored.info.type != ElementType::f32)
    return Status::invalid(what + " holds " + std::string(to_string(stored.info.type)) + ", not F32");
  if (request.begin > elements || request.elements > elements - request.begin)
    return Status::invalid(what + " has " + std::to_string(elements) + " elements, " +
                           std::to_string(request.elements) + " from " + std::to_string(request.begin) +
                           " on are not all within them");
  const net::Payload whole(file.value(), stored.bytes.data(), stored.bytes.size());
  return net::Tensor{net::DType::float32,
                     {static_cast<std::int64_t>(request.elements)},
                     whole.slice(request.begin * sizeof(float), request.elements * sizeof(float))};
}

// Deleting is no business of the job's: what cannot be deleted now is tried again at the next save.
void SnapshotStore::prune(const std::string& job, std::uint64_t saved, std::uint64_t keep) {
  std::error_code ignored;
  const auto remove = [&](const fs::path& folder) {
    std::erase_if(opened_, [&](const auto& entry) { return entry.first.starts_with(folder.string() + "/"); });
    fs::remove_all(folder, ignored);
  };
  const fs::path own = fs::path(folder_) / job;
  std::vector<std::pair<fs::file_time_type, std::uint64_t>> commits;
  for (const fs::path& folder : folders_in(own))
    if (const auto commit = commit_of(folder))
      commits.emplace_back(fs::last_write_time(folder, ignored), *commit);
  std::sort(commits.rbegin(), commits.rend());
  std::vector<std::uint64_t> newest_first;
  for (const auto& [time, commit] : commits) newest_first.push_back(commit);
  for (const std::uint64_t commit : commits_to_delete(newest_first, saved, keep))
    remove(own / std::to_string(commit));

  std::vector<std::pair<fs::file_time_type, fs::path>> others;
  for (const fs::path& folder : folders_in(folder_))
    if (folder != own) others.emplace_back(fs::last_write_time(folder, ignored), folder);
  std::sort(others.rbegin(), others.rend());
  const auto kept = static_cast<std::size_t>(std::max<std::int64_t>(1, jobs_kept_) - 1);
  for (std::size_t i = kept; i < others.size(); ++i) remove(others[i].second);
}

}  // namespace sidestep::daemon
