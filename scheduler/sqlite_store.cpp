#include "scheduler/sqlite_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>

#include "scheduler/record_file.h"
#include "scheduler/sqlite.h"
#include "scheduler/store_json.h"

namespace sidestep::scheduler {
namespace {

// Raised with every change of the tables and of what their rows hold.
constexpr std::int64_t schema_version = 4;

constexpr const char* schema = R"(
  CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE jobs (id TEXT PRIMARY KEY, submission INTEGER NOT NULL, body TEXT NOT NULL);
  CREATE TABLE logs (id INTEGER PRIMARY KEY AUTOINCREMENT, time_us INTEGER NOT NULL, level INTEGER NOT NULL,
                     node TEXT NOT NULL, nickname TEXT NOT NULL, job TEXT NOT NULL, stage INTEGER, text TEXT NOT NULL,
                     boot INTEGER NOT NULL, number INTEGER NOT NULL);
  CREATE INDEX logs_by_job ON logs (job, id);
  CREATE UNIQUE INDEX logs_by_name ON logs (node, boot, number) WHERE boot != 0;
  CREATE TABLE admissions (key TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE invites (key TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
)";

// Text comes from users and peers; what is not UTF-8 is replaced, not refused.
std::string dumped(const nlohmann::json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// What a line takes beside its text: columns, indexes, page overhead.
constexpr std::uint64_t line_overhead_bytes = 280;
// Pruning goes down to this share of the bound, so that it is not done for every line.
constexpr double prune_to = 0.9;
// Between two looks at the logs' age.
constexpr std::uint64_t lines_between_prunes = 1'000;

// The folder is one scheduler's alone; the lock goes with the process, however it ends.
class FolderLock {
 public:
  FolderLock() = default;
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  ~FolderLock() {
    if (file_ >= 0) ::close(file_);
  }

  Status take(const std::string& folder) {
    const std::string path = folder + "/lock";
    file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file_ < 0) return Status::io(path + ": cannot be opened: " + std::strerror(errno));
    if (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return Status::io(path + ": cannot be locked: " + std::strerror(errno));
      char process[32] = {};
      const ssize_t size = ::read(file_, process, sizeof process - 1);
      const std::string who = size > 0 ? " (process " + std::string(process) + ")" : "";
      return Status::refused(folder + ": another scheduler" + who +
                             " is using this folder; stop it or give this one its own");
    }
    const std::string process = std::to_string(::getpid());
    if (::ftruncate(file_, 0) != 0 || ::pwrite(file_, process.data(), process.size(), 0) < 0)
      return Status::io(path + ": cannot be written: " + std::strerror(errno));
    return {};
  }

 private:
  int file_ = -1;
};

}  // namespace

struct SqliteStore::Impl {
  Impl(SqliteStoreOptions o, std::unique_ptr<FolderLock> l, SqliteDatabase d)
      : options(std::move(o)), lock(std::move(l)), database(std::move(d)) {}

  Status set_up();
  Result<RecordFile*> record_file(const std::string& job, bool make);
  Result<std::optional<RecordHeader>> header_of(const std::string& job);
  Status append_logs(const std::vector<StoredLine>& lines);
  Status prune_logs(std::int64_t newest_us);
  StoreRows read_logs(const ReadLogs& query) const;
  StoreRows read_record(const ReadRecord& query);
  // Tables of a key and a body.
  Status put(const char* sql, const net::NodeKey& key, const nlohmann::json& body);
  template <class Row>
  Status read_all(const char* sql, Result<Row> (*parse)(const nlohmann::json&), std::vector<Row>& rows) const;

  SqliteStoreOptions options;
  std::unique_ptr<FolderLock> lock;
  SqliteDatabase database;
  std::map<std::string, RecordFile> records;  // of the jobs asked for or written since the start
  std::uint64_t log_bytes = 0;
  std::uint64_t lines_since_prune = 0;
};

SqliteStore::SqliteStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SqliteStore::~SqliteStore() = default;

Result<std::unique_ptr<SqliteStore>> SqliteStore::open(const SqliteStoreOptions& options) {
  std::error_code error;
  std::filesystem::create_directories(options.folder, error);
  if (error) return Status::io(options.folder + ": cannot be made: " + error.message());
  // Locked before SQLite sees the file: its own locks would let two schedulers take turns.
  auto lock = std::make_unique<FolderLock>();
  if (Status status = lock->take(options.folder); !status.ok()) return status;
  Result<SqliteDatabase> database = SqliteDatabase::open(options.folder + "/scheduler.db");
  if (!database.ok()) return database.status();
  auto impl = std::make_unique<Impl>(options, std::move(lock), std::move(database).value());
  if (Status status = impl->set_up(); !status.ok())
    return status.with_context(options.folder + "/scheduler.db");
  return std::unique_ptr<SqliteStore>(new SqliteStore(std::move(impl)));
}

Status SqliteStore::Impl::set_up() {
  if (Status status = database.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;");
      !status.ok())
    return status;
  std::int64_t version = 0;
  {
    SqliteStatement read = database.prepare("PRAGMA user_version");
    if (read.step()) version = read.integer(0);
    if (!read.status().ok()) return read.status();
  }
  if (version == 0) {
    const std::string mark = "PRAGMA user_version = " + std::to_string(schema_version) + ";";
    if (Status status = database.execute(("BEGIN;" + (schema + mark) + "COMMIT;").c_str()); !status.ok())
      return status;
  } else if (version != schema_version) {
    return Status::refused("it is of schema version " + std::to_string(version) +
                           ", this program knows version " + std::to_string(schema_version) +
                           "; use the program that made it or another folder");
  }
  SqliteStatement sum = database.prepare("SELECT COALESCE(SUM(LENGTH(text) + ?), 0) FROM logs");
  sum.bind(line_overhead_bytes);
  if (sum.step()) log_bytes = static_cast<std::uint64_t>(sum.integer(0));
  return sum.status();
}

Result<SavedState> SqliteStore::open_term() {
  const SqliteDatabase& database = impl_->database;
  SavedState saved;
  // FULL for this one change: a term that was used must never come again, even after a power cut.
  Status status = database.execute(
      "PRAGMA synchronous = FULL;"
      "INSERT INTO meta VALUES ('term', '1') ON CONFLICT (name) DO UPDATE SET value = CAST(value AS INTEGER) "
      "+ 1;"
      "PRAGMA synchronous = NORMAL;");
  if (!status.ok()) return status;
  SqliteStatement term = database.prepare("SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'term'");
  if (term.step()) saved.term = static_cast<std::uint64_t>(term.integer(0));
  if (!term.status().ok()) return term.status();

  SqliteStatement view = database.prepare("SELECT value FROM meta WHERE name = 'view'");
  if (view.step()) {
    JsonReader reader("stored view");
    saved.view = read_view(nlohmann::json::parse(view.text(0), nullptr, false), reader);
    if (!reader.ok()) return reader.status();
  }
  if (!view.status().ok()) return view.status();

  SqliteStatement jobs = database.prepare("SELECT body FROM jobs ORDER BY submission");
  while (jobs.step()) {
    Result<JobRow> row = parse_job_row(nlohmann::json::parse(jobs.text(0), nullptr, false));
    if (!row.ok()) return row.status();
    saved.jobs.push_back(std::move(row).value());
  }
  if (!jobs.status().ok()) return jobs.status();
  Status read =
      impl_->read_all("SELECT body FROM admissions ORDER BY key", parse_admission, saved.admissions);
  if (read.ok()) read = impl_->read_all("SELECT body FROM invites ORDER BY key", parse_invite, saved.invites);
  if (!read.ok()) return read;
  // The record reaches the disk before a commit is acknowledged, the row may be behind after a power cut. But
  // where a job goes back to a checkpoint, the row goes first.
  for (JobRow& row : saved.jobs) {
    if (ended(row.state)) continue;
    Result<RecordFile*> file = impl_->record_file(row.id, false);
    if (!file.ok()) return file.status();
    if (file.value() == nullptr) continue;
    if (row.state != JobState::running) {
      if (Status cut = file.value()->cut(row.commit ? *row.commit + 1 : 0); !cut.ok()) return cut;
      continue;
    }
    const auto missed = file.value()->read({.job = row.id,
                                            .step = {},
                                            .after = row.commit.value_or(0),
                                            .from_start = !row.commit,
                                            .limit = std::numeric_limits<std::uint64_t>::max()});
    if (!missed.ok()) return missed.status();
    for (const nlohmann::json& json : missed.value()) {
      const Result<RecordStep> step = parse_record_step(json);
      if (!step.ok()) return step.status().with_context("the record of job " + row.id);
      take_step(row, step.value());
    }
  }
  return saved;
}

Status SqliteStore::apply(const StoreChange& change) {
  const SqliteDatabase& database = impl_->database;
  if (const auto* job = std::get_if<PutJob>(&change))
    return database
        .prepare("INSERT INTO jobs VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body")
        .bind(job->row.id)
        .bind(job->row.submission)
        .bind(dumped(job_row_to_json(job->row)))
        .run();
  if (const auto* view = std::get_if<PutView>(&change))
    return database
        .prepare(
            "INSERT INTO meta VALUES ('view', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
        .bind(dumped(view_to_json(view->view)))
        .run();
  if (const auto* record = std::get_if<AppendRecord>(&change)) {
    Result<RecordFile*> file = impl_->record_file(record->job, true);
    if (!file.ok()) return file.status();
    return file.value()->append(record->step, record->record);
  }
  if (const auto* cut = std::get_if<CutRecord>(&change)) {
    Result<RecordFile*> file = impl_->record_file(cut->job, false);
    if (!file.ok()) return file.status();
    return file.value() == nullptr ? Status() : file.value()->cut(cut->from);
  }
  if (const auto* put = std::get_if<PutAdmission>(&change))
    return impl_->put(
        "INSERT INTO admissions VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET body = excluded.body",
        put->admission.key, to_json(put->admission));
  if (const auto* put = std::get_if<PutInvite>(&change))
    return impl_->put(
        "INSERT INTO invites VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET body = excluded.body",
        put->invite.key, to_json(put->invite));
  if (const auto* drop = std::get_if<DropInvite>(&change))
    return database.prepare("DELETE FROM invites WHERE key = ?").bind(drop->key.hex()).run();
  return impl_->append_logs(std::get<AppendLogs>(change).lines);
}

Status SqliteStore::Impl::put(const char* sql, const net::NodeKey& key, const nlohmann::json& body) {
  // FULL: a key that was revoked must not come back with a power cut.
  if (Status status = database.execute("PRAGMA synchronous = FULL"); !status.ok()) return status;
  Status stored = database.prepare(sql).bind(key.hex()).bind(dumped(body)).run();
  if (Status status = database.execute("PRAGMA synchronous = NORMAL"); !status.ok()) return status;
  return stored;
}

template <class Row>
Status SqliteStore::Impl::read_all(const char* sql, Result<Row> (*parse)(const nlohmann::json&),
                                   std::vector<Row>& rows) const {
  SqliteStatement read = database.prepare(sql);
  while (read.step()) {
    Result<Row> row = parse(nlohmann::json::parse(read.text(0), nullptr, false));
    if (!row.ok()) return row.status();
    rows.push_back(std::move(row).value());
  }
  return read.status();
}

StoreRows SqliteStore::query(const StoreQuery& query) const {
  if (const auto* logs = std::get_if<ReadLogs>(&query)) return impl_->read_logs(*logs);
  return impl_->read_record(std::get<ReadRecord>(query));
}

Result<std::optional<RecordHeader>> SqliteStore::Impl::header_of(const std::string& job) {
  SqliteStatement read = database.prepare("SELECT body FROM jobs WHERE id = ?");
  read.bind(job);
  if (!read.step()) {
    if (!read.status().ok()) return read.status();
    return Status::not_found("no job \"" + job + "\" to keep a record of");
  }
  Result<JobRow> row = parse_job_row(nlohmann::json::parse(read.text(0), nullptr, false));
  if (!row.ok()) return row.status();
  return std::optional<RecordHeader>({job, row.value().spec});
}

// Null where there is no file and none is to be made.
Result<RecordFile*> SqliteStore::Impl::record_file(const std::string& job, bool make) {
  if (const auto it = records.find(job); it != records.end()) return &it->second;
  std::optional<RecordHeader> header;
  if (make) {
    Result<std::optional<RecordHeader>> found = header_of(job);
    if (!found.ok()) return found.status();
    header = std::move(found).value();
  }
  Result<std::optional<RecordFile>> file =
      RecordFile::open(options.folder + "/jobs/" + job + "/record.jsonl", header);
  if (!file.ok()) return file.status();
  if (!file.value().has_value()) return static_cast<RecordFile*>(nullptr);
  return &records.emplace(job, std::move(*file.value())).first->second;
}

Status SqliteStore::Impl::append_logs(const std::vector<StoredLine>& lines) {
  if (lines.empty()) return {};
  if (Status status = database.execute("BEGIN"); !status.ok()) return status;
  for (const StoredLine& stored : lines) {
    SqliteStatement insert = database.prepare(
        "INSERT OR IGNORE INTO logs (time_us, level, node, nickname, job, text, boot, number, stage) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
    insert.bind(stored.line.wall_us)
        .bind(static_cast<std::int64_t>(stored.line.level))
        .bind(stored.node.hex())
        .bind(stored.nickname)
        .bind(stored.line.job)
        .bind(stored.line.text)
        .bind(stored.boot)
        .bind(stored.number);
    if (stored.line.stage)
      insert.bind(std::int64_t{*stored.line.stage});
    else
      insert.bind_null();
    if (Status status = insert.run(); !status.ok()) {
      const Status rolled_back = database.execute("ROLLBACK");
      return status;
    }
    if (database.changed_rows() > 0) log_bytes += stored.line.text.size() + line_overhead_bytes;
  }
  if (Status status = database.execute("COMMIT"); !status.ok()) return status;
  lines_since_prune += lines.size();
  if (log_bytes > options.log_bytes_max || lines_since_prune >= lines_between_prunes)
    return prune_logs(lines.back().line.wall_us);
  return {};
}

Status SqliteStore::Impl::prune_logs(std::int64_t newest_us) {
  lines_since_prune = 0;
  std::uint64_t last_to_go = 0;
  std::uint64_t bytes = log_bytes;
  const auto goal = static_cast<std::uint64_t>(prune_to * static_cast<double>(options.log_bytes_max));
  const bool too_large = log_bytes > options.log_bytes_max;
  {
    SqliteStatement oldest = database.prepare("SELECT id, time_us, LENGTH(text) FROM logs ORDER BY id");
    while (oldest.step()) {
      const bool too_old = oldest.integer(1) < newest_us - options.log_age_us_max;
      if (!too_old && !(too_large && bytes > goal)) break;
      last_to_go = static_cast<std::uint64_t>(oldest.integer(0));
      bytes -= std::min(bytes, static_cast<std::uint64_t>(oldest.integer(2)) + line_overhead_bytes);
    }
    if (!oldest.status().ok()) return oldest.status();
  }
  if (last_to_go == 0) return {};
  log_bytes = bytes;
  return database.prepare("DELETE FROM logs WHERE id <= ?").bind(last_to_go).run();
}

StoreRows SqliteStore::Impl::read_logs(const ReadLogs& query) const {
  StoreRows rows;
  // With a job the planner takes the index by job, else the primary key.
  const std::string sql =
      std::string(
          "SELECT id, time_us, level, node, nickname, job, stage, text, boot, number FROM logs WHERE id > ? "
          "AND level >= "
          "?") +
      (query.job.empty() ? "" : " AND job = ?") +
      (query.node.empty() ? "" : " AND (nickname = ? OR SUBSTR(node, 1, LENGTH(?)) = ?)") + " ORDER BY id " +
      (query.tail ? "DESC" : "ASC") + " LIMIT ?";
  SqliteStatement read = database.prepare(sql.c_str());
  read.bind(query.after).bind(static_cast<std::int64_t>(query.level));
  if (!query.job.empty()) read.bind(query.job);
  if (!query.node.empty()) read.bind(query.node).bind(query.node).bind(query.node);
  read.bind(query.limit);
  while (read.step()) {
    StoredLine& stored = rows.lines.emplace_back();
    stored.id = static_cast<std::uint64_t>(read.integer(0));
    stored.line.wall_us = read.integer(1);
    stored.line.level = static_cast<net::LogLevel>(read.integer(2));
    const Result<net::NodeKey> key = net::NodeKey::from_hex(read.text(3));
    if (key.ok()) stored.node = key.value();
    stored.nickname = read.text(4);
    stored.line.job = read.text(5);
    if (!read.is_null(6)) stored.line.stage = static_cast<std::uint32_t>(read.integer(6));
    stored.line.text = read.text(7);
    stored.boot = static_cast<net::BootId>(read.integer(8));
    stored.number = static_cast<std::uint64_t>(read.integer(9));
  }
  rows.status = read.status();
  if (query.tail) std::reverse(rows.lines.begin(), rows.lines.end());
  return rows;
}

StoreRows SqliteStore::Impl::read_record(const ReadRecord& query) {
  StoreRows rows;
  const Result<RecordFile*> file = record_file(query.job, false);
  if (!file.ok()) {
    rows.status = file.status();
  } else if (file.value() != nullptr) {
    Result<std::vector<nlohmann::json>> steps = file.value()->read(query);
    rows.status = steps.status();
    if (steps.ok()) rows.steps = std::move(steps).value();
  }
  return rows;
}

}  // namespace sidestep::scheduler
