#include "daemon/data/atomic_output.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

namespace sidestep::daemon {
namespace {

namespace fs = std::filesystem;

// Names tried for one partial output; more were left behind by nobody.
constexpr int attempts_max = 1000;

Status failed(const std::string& path, const char* what) {
  return Status::io(path + ": " + what + ": " + std::strerror(errno));
}

// "FOLDER/.NAME.partial-PID-ATTEMPT": beside the place, so that a rename is enough.
std::string partial_of(const fs::path& path, int attempt) {
  return (path.parent_path() / ("." + path.filename().string() + ".partial-" + std::to_string(::getpid()) +
                                "-" + std::to_string(attempt)))
      .string();
}

Status flush_folder(const fs::path& folder) {
  const std::string name = folder.empty() ? "." : folder.string();
  const int file = ::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return failed(name, "cannot be opened");
  const int result = ::fsync(file);
  const Status status = result == 0 ? Status() : failed(name, "cannot be flushed to disk");
  ::close(file);
  return status;
}

// Two folders change places in one step where the file system can, else in two.
Status swap_folders(const std::string& fresh, const std::string& path) {
  if (::renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0) return {};
  if (errno != EINVAL && errno != ENOSYS && errno != EXDEV) return failed(path, "cannot be replaced");
  const std::string old = fresh + ".old";
  if (::rename(path.c_str(), old.c_str()) != 0) return failed(path, "cannot be replaced");
  if (::rename(fresh.c_str(), path.c_str()) != 0) {
    const Status status = failed(path, "cannot be replaced");
    if (::rename(old.c_str(), path.c_str()) != 0) return status.with_context("what was there is now " + old);
    return status;
  }
  if (::rename(old.c_str(), fresh.c_str()) != 0) return failed(old, "cannot be renamed");
  return {};
}

}  // namespace

Result<AtomicFile> AtomicFile::create(const std::string& path) {
  for (int attempt = 0; attempt < attempts_max; ++attempt) {
    std::string partial = partial_of(path, attempt);
    const int file = ::open(partial.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file >= 0) return AtomicFile(path, std::move(partial), file);
    if (errno != EEXIST) break;
  }
  return failed(path, "cannot be written");
}

AtomicFile::~AtomicFile() {
  if (file_ >= 0) ::close(file_);
  if (!partial_.empty()) ::unlink(partial_.c_str());
}

Status AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(file_, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed(path_, "cannot be written");
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return {};
}

Status AtomicFile::rewrite(std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(file_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed(path_, "cannot be written");
    bytes = bytes.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return {};
}

Status AtomicFile::commit() {
  if (::fsync(file_) != 0) return failed(path_, "cannot be flushed to disk");
  if (::close(std::exchange(file_, -1)) != 0) return failed(path_, "cannot be written");
  if (::rename(partial_.c_str(), path_.c_str()) != 0) return failed(path_, "cannot be put in place");
  partial_.clear();
  return flush_folder(fs::path(path_).parent_path());
}

Status write_file(const std::string& path, std::string_view text) {
  auto file = AtomicFile::create(path);
  if (!file.ok()) return file.status();
  if (Status status = file.value().write(std::as_bytes(std::span(text))); !status.ok()) return status;
  return file.value().commit();
}

Result<AtomicFolder> AtomicFolder::create(const std::string& path) {
  std::error_code error;
  // Through links, so that the folder itself is replaced and not the link to it.
  fs::path place = fs::weakly_canonical(fs::absolute(path, error), error);
  if (error) return Status::io(path + ": cannot be written: " + error.message());
  if (place.filename().empty()) place = place.parent_path();
  for (int attempt = 0; attempt < attempts_max; ++attempt) {
    std::string partial = partial_of(place, attempt);
    if (::mkdir(partial.c_str(), 0777) == 0) return AtomicFolder(place.string(), std::move(partial));
    if (errno != EEXIST) break;
  }
  return failed(path, "cannot be written");
}

AtomicFolder::~AtomicFolder() {
  std::error_code ignored;
  if (!partial_.empty()) fs::remove_all(partial_, ignored);
}

Status AtomicFolder::commit() {
  if (Status status = flush_folder(partial_); !status.ok()) return status;
  // Takes the place of nothing, or of an empty folder.
  if (::rename(partial_.c_str(), path_.c_str()) == 0) {
    partial_.clear();
  } else {
    if (errno != ENOTEMPTY && errno != EEXIST) return failed(path_, "cannot be put in place");
    // What was there is now the partial folder, which the destructor removes.
    if (Status status = swap_folders(partial_, path_); !status.ok()) return status;
  }
  return flush_folder(fs::path(path_).parent_path());
}

}  // namespace sidestep::daemon
