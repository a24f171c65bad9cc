// What the scheduler keeps on disk. SqliteStore (WAL mode) is the real one; MemoryStore serves the simulator
// and tests; one contract test runs both. One thread owns a store.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "net/messages.h"
#include "net/status.h"
#include "scheduler/admissions.h"

namespace sidestep::scheduler {

enum class JobState : std::uint8_t { queued, preparing, starting, running, done, failed, cancelled };

std::string_view to_string(JobState state);
bool ended(JobState state);

// One node's copy of one stage in a snapshot, or why it has none.
struct SnapshotCopy {
  std::uint32_t stage = 0;
  net::NodeKey node;
  std::uint64_t elements = 0;
  std::string digest;   // of the weights there; replicas of different classes may differ in the last bits
  std::string problem;  // not empty: it was not saved
  bool operator==(const SnapshotCopy&) const = default;
};

// A job's state after a commit, as its nodes keep it on their disks.
struct Snapshot {
  std::uint64_t commit = 0;
  std::vector<SnapshotCopy> copies;
  bool operator==(const Snapshot&) const = default;

  // Some node has saved the stage.
  bool has(std::uint32_t stage) const;
};

// A checkpoint of a job that has its manifest.
struct SealedCheckpoint {
  std::uint64_t commit = 0;
  std::uint64_t epoch = 0;  // of the plan under which it was made
  std::string digest;       // "sha256:…" of the manifest
  bool operator==(const SealedCheckpoint&) const = default;
};

// A mirror that is whole, in a node's memory.
struct KeptMirror {
  net::NodeKey node;
  std::uint64_t commit = 0;  // whose state it is
  bool operator==(const KeptMirror&) const = default;
};

// A job as stored. Times are wall clock, 0: not yet.
struct JobRow {
  std::string id;                // "quickstart-1"
  std::uint64_t submission = 0;  // order in the queue, from 1
  nlohmann::json spec;
  JobState state = JobState::queued;
  std::string reason;            // why it ended
  nlohmann::json plan;           // null before the first
  bool plan_at_commit = false;   // it took the place of another at a Commit
  net::View view;                // who holds stages under it
  std::uint64_t last_epoch = 0;  // no plan has had a higher number, those that were withdrawn counted
  nlohmann::json offered;        // the plan that takes its place at a Commit (changes.cpp); or null
  nlohmann::json handing_over;   // who has not taken over yet, and who waits for that (changes.cpp); or null
  std::optional<std::uint64_t> commit;  // last step committed
  double loss = 0;
  std::optional<double> validation_loss;
  double tokens_per_s = 0;
  std::uint64_t skipped_updates = 0;  // steps that made none: a number was not finite
  std::string end_reason;             // not empty: `commit` was the last, the job fails for this
  nlohmann::json recoveries = nlohmann::json::array();  // RecordRecovery, and the "step" of each; the newest
  std::uint64_t recovered = 0;                          // how many there were
  std::optional<Snapshot> snapshot;                     // the newest that is whole
  std::optional<Snapshot> snapshot_coming;              // newer, not whole so far
  std::vector<SealedCheckpoint> checkpoints;            // that are there, the newest last
  std::vector<std::string> unsealed;                    // folders of those that were begun since
  std::map<std::uint32_t, KeptMirror> mirrors;          // by stage
  std::uint64_t went_back = 0;                          // so often
  std::optional<SealedCheckpoint> resumed;              // what it went back to last; none: to how it began
  std::uint64_t stale_epoch = 0;  // what nodes say under plans up to this one is of before that
  std::uint64_t struck = 0;       // steps up to this one have had the losses that the job scripts
  std::int64_t submitted_us = 0;
  std::int64_t started_us = 0;
  std::int64_t ended_us = 0;
};

struct StoredLine {
  std::uint64_t id = 0;  // cursor, given by the store
  net::NodeKey node;
  std::string nickname;
  net::LogLine line;
  // Which of that node's lines this is: one that comes again is ignored. Boot 0: never the same as another.
  net::BootId boot = 0;
  std::uint64_t number = 0;
};

struct PutJob {
  JobRow row;
};
struct PutView {
  net::View view;
};
struct AppendRecord {
  std::string job;
  std::uint64_t step = 0;
  nlohmann::json record;
};  // a repeated step is ignored
struct CutRecord {
  std::string job;
  std::uint64_t from = 0;  // this step and those after it are forgotten
};
struct AppendLogs {
  std::vector<StoredLine> lines;
};

struct PutAdmission {
  Admission admission;
};
struct PutInvite {
  InviteRow invite;
};
struct DropInvite {
  net::NodeKey key;
};

using StoreChange =
    std::variant<PutJob, PutView, AppendRecord, CutRecord, AppendLogs, PutAdmission, PutInvite, DropInvite>;

struct ReadLogs {
  std::string job;                             // empty: all
  std::string node;                            // nickname or start of a key; empty: all
  net::LogLevel level = net::LogLevel::debug;  // at least
  std::uint64_t after = 0;                     // lines with a larger id
  std::uint64_t limit = 1000;
  bool tail = false;  // the last `limit` lines instead of the first
};

struct ReadRecord {
  std::string job;
  std::optional<std::uint64_t> step;  // that step only
  std::uint64_t after = 0;            // steps larger than this, when `step` is not given
  bool from_start = true;             // with step 0, when `after` is 0
  std::uint64_t limit = 100;
};

using StoreQuery = std::variant<ReadLogs, ReadRecord>;

struct StoreRows {
  Status status;
  std::vector<StoredLine> lines;
  std::vector<nlohmann::json> steps;  // ascending
};

struct SavedState {
  std::uint64_t term = 0;
  net::View view;
  std::vector<JobRow> jobs;  // in order of submission
  std::vector<Admission> admissions;
  std::vector<InviteRow> invites;
};

class Store {
 public:
  virtual ~Store() = default;
  // Raises the term by one, durably, and gives everything back.
  virtual Result<SavedState> open_term() = 0;
  virtual Status apply(const StoreChange& change) = 0;
  virtual StoreRows query(const StoreQuery& query) const = 0;
};

}  // namespace sidestep::scheduler
