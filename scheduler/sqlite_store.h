// The scheduler's folder: one SQLite file in WAL mode (jobs, the view, logs, who may come) and one run record
// a job, as lines of JSON:
//
//   DIR/scheduler.db   DIR/lock   DIR/jobs/quickstart-1/record.jsonl
//
// What apply() has taken survives the end of the process at any moment; a crash of the machine may cost the
// last moments, never the rest. One thread owns it; a second scheduler on the same folder is refused.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "scheduler/store.h"

namespace sidestep::scheduler {

struct SqliteStoreOptions {
  std::string folder;  // made if it is missing
  // Logs over either bound go, oldest first, in batches.
  std::uint64_t log_bytes_max = 1'000'000'000;
  std::int64_t log_age_us_max = std::int64_t{30} * 24 * 3600 * 1'000'000;  // against the newest line
};

class SqliteStore : public Store {
 public:
  // Errors: refused (another scheduler has the folder; the file is another version's), io.
  static Result<std::unique_ptr<SqliteStore>> open(const SqliteStoreOptions& options);
  ~SqliteStore() override;

  Result<SavedState> open_term() override;
  Status apply(const StoreChange& change) override;
  StoreRows query(const StoreQuery& query) const override;

 private:
  struct Impl;
  explicit SqliteStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sidestep::scheduler
