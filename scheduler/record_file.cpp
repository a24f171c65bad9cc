#include "scheduler/record_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "scheduler/store_json.h"

namespace sidestep::scheduler {
namespace {

Status io_error(const std::string& path, const char* what) {
  return Status::io(path + ": " + what + ": " + std::strerror(errno));
}

}  // namespace

Result<std::optional<RecordFile>> RecordFile::open(const std::string& path,
                                                   const std::optional<RecordHeader>& header) {
  std::error_code error;
  const bool there = std::filesystem::exists(path, error);
  if (!there && !header) return std::optional<RecordFile>();
  RecordFile file(path);
  if (there) {
    if (Status status = file.scan(); !status.ok()) return status;
  } else {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
    if (error) return Status::io(path + ": cannot make its folder: " + error.message());
  }
  file.out_.open(path, std::ios::binary | std::ios::app);
  if (!file.out_) return io_error(path, "cannot be opened for writing");
  if (!file.has_header_ && header) {
    if (Status status = file.write_line(to_json(*header).dump()); !status.ok()) return status;
    file.has_header_ = true;
  }
  return std::optional<RecordFile>(std::move(file));
}

Status RecordFile::scan() {
  std::ifstream in(path_, std::ios::binary);
  if (!in) return io_error(path_, "cannot be read");
  std::string line;
  for (std::size_t number = 1; std::getline(in, line); ++number) {
    if (in.eof()) break;  // no newline at its end: torn
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
    const std::string place = path_ + ":" + std::to_string(number);
    if (!has_header_) {
      if (const auto header = parse_record_header(json); !header.ok())
        return header.status().with_context(place);
      has_header_ = true;
    } else {
      JsonReader reader(place);
      const std::uint64_t step = reader.natural(reader.member(json, "step"));
      if (!reader.ok()) return reader.status();
      steps_.emplace(step, Place{end_, line.size()});
    }
    end_ += static_cast<std::streamoff>(line.size() + 1);
  }
  in.close();
  std::error_code error;
  std::filesystem::resize_file(path_, static_cast<std::uintmax_t>(end_), error);
  if (error) return Status::io(path_ + ": its torn last line cannot be cut off: " + error.message());
  return {};
}

Status RecordFile::write_line(const std::string& line) {
  out_ << line << '\n';
  out_.flush();
  if (!out_) return io_error(path_, "cannot be written");
  if (Status status = sync(); !status.ok()) return status;
  end_ += static_cast<std::streamoff>(line.size() + 1);
  return {};
}

Status RecordFile::sync() const {
  // Whatever descriptor it is asked through, it is the file that reaches the disk.
  const int descriptor = ::open(path_.c_str(), O_WRONLY | O_CLOEXEC);
  const bool synced = descriptor >= 0 && ::fdatasync(descriptor) == 0;
  const int problem = errno;
  if (descriptor >= 0) ::close(descriptor);
  errno = problem;
  if (!synced) return io_error(path_, "cannot be brought to the disk");
  return {};
}

// Lines are in the order of their steps, which only grow between two cuts.
Status RecordFile::cut(std::uint64_t from) {
  const auto first = steps_.lower_bound(from);
  if (first == steps_.end()) return {};
  const std::streamoff end = first->second.offset;
  std::error_code error;
  std::filesystem::resize_file(path_, static_cast<std::uintmax_t>(end), error);
  if (error) return Status::io(path_ + ": steps cannot be cut off: " + error.message());
  steps_.erase(first, steps_.end());
  end_ = end;
  return sync();
}

std::optional<std::uint64_t> RecordFile::last_step() const {
  if (steps_.empty()) return std::nullopt;
  return steps_.rbegin()->first;
}

Status RecordFile::append(std::uint64_t step, const nlohmann::json& record) {
  if (steps_.contains(step)) return {};
  const std::string line = record.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  const Place place{end_, line.size()};
  if (Status status = write_line(line); !status.ok()) return status;
  steps_.emplace(step, place);
  return {};
}

Result<std::vector<nlohmann::json>> RecordFile::read(const ReadRecord& query) const {
  std::ifstream in(path_, std::ios::binary);
  if (!in) return io_error(path_, "cannot be read");
  std::vector<nlohmann::json> steps;
  for (auto it = steps_.lower_bound(query.step.value_or(query.after)); it != steps_.end(); ++it) {
    if (steps.size() >= query.limit || (query.step && it->first > *query.step)) break;
    if (!in_range(query, it->first)) continue;
    std::string line(it->second.length, '\0');
    in.seekg(it->second.offset);
    in.read(line.data(), static_cast<std::streamsize>(line.size()));
    if (!in) return io_error(path_, "cannot be read");
    steps.push_back(nlohmann::json::parse(line, nullptr, false));
  }
  return steps;
}

}  // namespace sidestep::scheduler
