#include "daemon/data/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace sidestep::daemon {
namespace {

Status failed(const std::string& path, const char* what) {
  const int error = errno;
  const std::string text = path + ": " + what + ": " + std::strerror(error);
  return error == ENOENT ? Status::not_found(text) : Status::io(text);
}

// Of an open file. Leaves `bytes` empty for an empty file.
Status map(int file, const std::string& path, std::span<const std::byte>& bytes) {
  struct stat status;
  if (::fstat(file, &status) != 0) return failed(path, "cannot be looked at");
  if (!S_ISREG(status.st_mode)) return Status::invalid(path + ": is not a regular file");
  if (status.st_size == 0) return {};
  const auto size = static_cast<std::size_t>(status.st_size);
  void* mapping = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
  if (mapping == MAP_FAILED) return failed(path, "cannot be mapped");
  bytes = {static_cast<const std::byte*>(mapping), size};
  return {};
}

}  // namespace

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return failed(path, "cannot be opened");
  std::shared_ptr<MappedFile> mapped(new MappedFile());
  mapped->path_ = path;
  const Status status = map(file, path, mapped->bytes_);
  ::close(file);
  if (!status.ok()) return status;
  return std::shared_ptr<const MappedFile>(std::move(mapped));
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace sidestep::daemon
