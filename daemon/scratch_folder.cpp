#include "daemon/scratch_folder.h"

#include <stdlib.h>

#include <cerrno>
#include <cstring>

namespace sidestep {

namespace fs = std::filesystem;

Result<ScratchFolder> ScratchFolder::make(const fs::path& prefix) {
  std::error_code error;
  fs::create_directories(prefix.parent_path(), error);
  if (error) return Status::io(prefix.parent_path().string() + ": cannot be made: " + error.message());
  std::string name = prefix.string() + "-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr)
    return Status::io(name + ": cannot be made: " + std::strerror(errno));
  return ScratchFolder(name);
}

Result<ScratchFolder> ScratchFolder::beside(const std::string& place) {
  std::error_code error;
  fs::path whole = fs::weakly_canonical(fs::absolute(place, error), error);
  if (error) return Status::io(place + ": cannot be looked up: " + error.message());
  if (whole.filename().empty()) whole = whole.parent_path();
  return make(whole.parent_path() / ("." + whole.filename().string() + ".stages"));
}

void ScratchFolder::remove() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
  path_.clear();
}

}  // namespace sidestep
