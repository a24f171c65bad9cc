#include "daemon/data/checkpoint_folder.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "daemon/data/atomic_output.h"
#include "daemon/data/safetensors_writer.h"
#include "daemon/data/snapshot_names.h"
#include "net/digest.h"

namespace sidestep::daemon {
namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, net::state_parts> part_names{"weights", "first_moment", "second_moment"};
constexpr const char* traits_name = "traits";
constexpr const char* manifest_name = "checkpoint.json";

using Traits = std::array<double, 3>;

Status what_to_do(const Status& status) {
  return Status(status.code(), "\"resume\": " + status.message() +
                                   "; every node of the job has to see this checkpoint, whole");
}

// Where there is a manifest under each of a job's commits: their folders.
std::vector<fs::path> checkpoints_in(const std::string& directory) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error))
    if (fs::exists(entry.path() / manifest_name, error)) found.push_back(entry.path());
  std::ranges::sort(found);
  return found;
}

// A flat tensor of that length, compared with its digest.
Result<net::Payload> read_part(const std::shared_ptr<const SafetensorsFile>& opened, const char* name,
                               ElementType type, std::uint64_t elements) {
  const SafetensorsFile& file = *opened;
  const auto found = file.content().tensors.find(name);
  if (found == file.content().tensors.end())
    return Status::invalid(file.path() + ": has no tensor \"" + name + "\"");
  const StoredTensor& stored = found->second;
  if (stored.info.type != type || stored.info.shape.size() != 1 ||
      static_cast<std::uint64_t>(stored.info.elements()) != elements)
    return Status::invalid(file.path() + ": tensor \"" + name + "\" is " +
                           std::string(to_string(stored.info.type)) + " of shape " +
                           shape_text(stored.info.shape) + ", not " + std::string(to_string(type)) + " of [" +
                           std::to_string(elements) + "]");
  if (!file.content().metadata.contains(digest_key(name)))
    return Status::invalid(file.path() + ": tensor \"" + name + "\" has no digest");
  if (Status status = file.verify(stored); !status.ok()) return status;
  return net::Payload(opened, stored.bytes.data(), stored.bytes.size());
}

}  // namespace

Result<scheduler::CheckpointManifest::Stage> write_checkpoint_stage(const std::string& folder,
                                                                    std::uint32_t stage,
                                                                    const StageState& state) {
  SIDESTEP_ASSERT(state.parts.size() == net::state_parts);
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return Status::io(folder + ": cannot be made: " + error.message());
  std::vector<TensorInfo> tensors;
  for (std::size_t part = 0; part < state.parts.size(); ++part)
    tensors.push_back({part_names[part], ElementType::f32, state.parts[part].shape});
  const Traits traits{static_cast<double>(state.traits.updates), state.traits.gradient_norm,
                      state.traits.learning_rate_scale};
  tensors.push_back({traits_name, ElementType::f64, {static_cast<std::int64_t>(traits.size())}});
  const TensorSource source = [&](const TensorInfo& tensor) -> Result<net::Payload> {
    for (std::size_t part = 0; part < state.parts.size(); ++part)
      if (tensor.name == part_names[part]) return state.parts[part].payload;
    const auto copy = std::make_shared<Traits>(traits);
    return net::Payload(copy, reinterpret_cast<const std::byte*>(copy->data()), sizeof traits);
  };
  const std::string path = (fs::path(folder) / stage_file_name(stage)).string();
  if (Status status = write_safetensors(path, tensors, source); !status.ok()) return status;
  const auto file = SafetensorsFile::open(path);  // what a reader will find, not what was meant to be written
  if (!file.ok()) return file.status();
  const SafetensorsContent& content = file.value()->content();
  return scheduler::CheckpointManifest::Stage{
      stage, static_cast<std::uint64_t>(content.tensors.at(part_names[0]).info.elements()),
      content.metadata.at(digest_key(part_names[0]))};
}

Status seal_checkpoint(const std::string& directory, const std::string& folder, const std::string& manifest,
                       const std::vector<std::string>& drop) {
  for (const std::string& old : drop)
    if (!is_plain_name(old)) return Status::invalid('"' + old + "\" is no name of a checkpoint's folder");
  if (Status status = write_file((fs::path(directory) / folder / manifest_name).string(), manifest);
      !status.ok())
    return status;
  for (const std::string& old : drop) {
    if (old == folder) continue;
    std::error_code ignored;
    fs::remove(fs::path(directory) / old / manifest_name, ignored);  // first what makes it one
    fs::remove_all(fs::path(directory) / old, ignored);
  }
  return {};
}

Result<Checkpoint> Checkpoint::read_manifest(const std::string& folder) {
  const std::string path = (fs::path(folder) / manifest_name).string();
  std::ifstream file(path, std::ios::binary);
  if (!file) return Status::not_found(path + ": there is no such checkpoint, or it cannot be read");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  if (file.bad()) return Status::io(path + ": cannot be read");
  auto manifest = scheduler::parse_checkpoint_manifest(nlohmann::json::parse(text, nullptr, false), path);
  if (!manifest.ok()) return manifest.status();
  Checkpoint checkpoint;
  checkpoint.folder_ = folder;
  checkpoint.digest_ = net::sha256(std::as_bytes(std::span(text)));
  checkpoint.manifest_ = std::move(manifest).value();
  return checkpoint;
}

bool Checkpoint::is_wanted(const scheduler::ResumeSpec& resume) const {
  return (resume.commit < 0 || manifest_.commit == static_cast<std::uint64_t>(resume.commit)) &&
         (resume.digest.empty() || digest_ == resume.digest);
}

Result<Checkpoint> Checkpoint::open(const scheduler::JobSpec& job) {
  const scheduler::ResumeSpec& resume = job.resume;
  std::error_code error;
  std::vector<fs::path> folders = checkpoints_in(resume.directory);
  if (fs::exists(fs::path(resume.directory) / manifest_name, error)) folders = {resume.directory};
  std::optional<Checkpoint> chosen;
  Status unreadable;  // another may be the one; the job that wrote them may be deleting it
  for (const fs::path& folder : folders) {
    Result<Checkpoint> found = read_manifest(folder.string());
    if (!found.ok())
      unreadable = found.status();
    else if (found.value().is_wanted(resume) &&
             (!chosen || found.value().manifest_.written_us > chosen->manifest_.written_us))
      chosen = std::move(found).value();
  }
  if (!chosen && !unreadable.ok()) return what_to_do(unreadable);
  if (!chosen)
    return what_to_do(
        Status::not_found(resume.directory + ": there is no checkpoint in it" +
                          (resume.commit < 0 ? "" : " of commit " + std::to_string(resume.commit)) +
                          (resume.digest.empty() ? "" : " whose manifest has digest " + resume.digest)));
  const std::string path = (fs::path(chosen->folder_) / manifest_name).string();
  if (Status status = scheduler::check_resumable(job, chosen->manifest_, path); !status.ok())
    return status.with_context("\"resume\"");
  return std::move(*chosen);
}

Result<StageState> Checkpoint::read(std::uint32_t stage) const {
  if (stage >= manifest_.stages.size())
    return Status::invalid(folder_ + ": the checkpoint has no stage " + std::to_string(stage));
  const scheduler::CheckpointManifest::Stage& wanted = manifest_.stages[stage];
  const std::string path = (fs::path(folder_) / stage_file_name(stage)).string();
  const auto file = SafetensorsFile::open(path);
  if (!file.ok()) return what_to_do(file.status());
  StageState state;
  for (const char* name : part_names) {
    Result<net::Payload> part = read_part(file.value(), name, ElementType::f32, wanted.elements);
    if (!part.ok()) return what_to_do(part.status());
    state.parts.push_back(
        {net::DType::float32, {static_cast<std::int64_t>(wanted.elements)}, std::move(part).value()});
  }
  if (file.value()->content().metadata.at(digest_key(part_names[0])) != wanted.digest)
    return what_to_do(Status::invalid(path + ": holds other weights than the manifest says"));
  Traits traits{};
  const auto stored = read_part(file.value(), traits_name, ElementType::f64, traits.size());
  if (!stored.ok()) return what_to_do(stored.status());
  std::memcpy(traits.data(), stored.value().data(), sizeof traits);
  constexpr double updates_max = 1e15;
  if (!(traits[0] >= 0 && traits[0] <= updates_max))
    return what_to_do(Status::invalid(path + ": tensor \"traits\" begins with no number of updates"));
  state.traits = {static_cast<std::uint64_t>(traits[0]), traits[1], traits[2]};
  return state;
}

}  // namespace sidestep::daemon
