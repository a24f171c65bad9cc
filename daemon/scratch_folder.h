// A folder for what is on its way somewhere else. Owner: one thread.
#pragma once

#include <filesystem>
#include <string>
#include <utility>

#include "net/status.h"

namespace sidestep {

// Removed with all that is in it.
class ScratchFolder {
 public:
  // A new folder whose path begins with `prefix`; the folder around it is made where it is missing. Errors:
  // io.
  static Result<ScratchFolder> make(const std::filesystem::path& prefix);
  // Beside `place`, hidden; also where that is written "." or "x/".
  static Result<ScratchFolder> beside(const std::string& place);
  ScratchFolder(ScratchFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  ScratchFolder& operator=(ScratchFolder&&) = delete;
  ~ScratchFolder() { remove(); }

  // Now, and not only at the end.
  void remove();

  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  explicit ScratchFolder(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;  // empty once removed
};

}  // namespace sidestep
