#include "daemon/executor/init_folder.h"

#include "daemon/model/weights.h"

namespace sidestep::daemon {
namespace {

Status problem(const Status& status, const std::string& what_to_do) {
  return Status(status.code(), "\"init_from\": " + status.message() + what_to_do);
}

}  // namespace

Result<HfFolder> InitFolder::open(const scheduler::JobSpec& spec) {
  auto folder = HfFolder::open(spec.init_from);
  if (!folder.ok())
    return problem(folder.status(),
                   "; every node of the job needs this folder: copy it here, or leave "
                   "\"init_from\" out");
  const std::string config = spec.init_from + "/" + config_file_name;
  if (const Status same = compare_models(spec.model, folder.value().model(), config); !same.ok())
    return problem(same, "; give the job the model of the folder, or name another folder");
  if (const Status status = read_through(folder.value()); !status.ok())
    return problem(status, "; copy the folder here again");
  if (!spec.init_from_digest.empty() && spec.init_from_digest != digest_)
    return problem(Status::invalid(spec.init_from + ": has digest " + digest_ + ", the job wants " +
                                   spec.init_from_digest),
                   "; copy the job's folder here");
  return folder;
}

Status InitFolder::read_through(const HfFolder& folder) {
  // Before the reading: a file that changes meanwhile is read again next time.
  std::vector<ReadFile> files;
  for (const std::string& path : folder.files()) {
    const auto identity = identify_file(path);
    if (!identity.ok()) return identity.status();
    files.push_back({path, identity.value()});
  }
  if (files == read_) return {};
  read_.clear();
  // Shapes first: they cost nothing, and a tensor too much is told before the whole is read.
  if (Status status = check_tensors(folder); !status.ok()) return status;
  const auto digest = folder.content_digest();
  if (!digest.ok()) return digest.status();
  if (Status status = check_weights(folder); !status.ok()) return status;
  digest_ = digest.value();
  read_ = std::move(files);
  return {};
}

}  // namespace sidestep::daemon
