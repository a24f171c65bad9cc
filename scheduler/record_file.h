// One job's run record on disk: a header line, then one line of JSON a step. Opening cuts off a line that
// a crash left torn; a step that is there already is not written again. One thread.
#pragma once

#include <cstdint>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "net/status.h"
#include "scheduler/record.h"
#include "scheduler/store.h"

namespace sidestep::scheduler {

class RecordFile {
 public:
  // Makes the file with `header` if there is none and a header is given; nothing if there is none and none is
  // given.
  static Result<std::optional<RecordFile>> open(const std::string& path,
                                                const std::optional<RecordHeader>& header);

  // On the disk when it returns.
  Status append(std::uint64_t step, const nlohmann::json& record);
  // Forgets this step and those after it; on the disk when it returns.
  Status cut(std::uint64_t from);
  Result<std::vector<nlohmann::json>> read(const ReadRecord& query) const;
  std::optional<std::uint64_t> last_step() const;

 private:
  struct Place {
    std::streamoff offset = 0;
    std::size_t length = 0;
  };

  explicit RecordFile(std::string path) : path_(std::move(path)) {}
  Status scan();
  Status write_line(const std::string& line);
  Status sync() const;

  std::string path_;
  std::ofstream out_;
  std::streamoff end_ = 0;  // of the last whole line
  bool has_header_ = false;
  std::map<std::uint64_t, Place> steps_;
};

}  // namespace sidestep::scheduler
