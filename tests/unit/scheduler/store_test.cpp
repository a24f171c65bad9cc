#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "scheduler/memory_store.h"
#include "scheduler/record.h"
#include "scheduler/sqlite.h"
#include "scheduler/sqlite_store.h"

using namespace sidestep;
using namespace sidestep::scheduler;
using nlohmann::json;

namespace {

class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "sidestep-store-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  ~TempFolder() { std::filesystem::remove_all(path); }
  std::string path;
};

std::unique_ptr<SqliteStore> open_sqlite(const SqliteStoreOptions& options) {
  auto store = SqliteStore::open(options);
  INFO(store.status().message());
  REQUIRE(store.ok());
  return std::move(store).value();
}

// A store that can be closed and opened again; a MemoryStore lives on.
struct Case {
  explicit Case(bool on_disk) : disk(on_disk) { reopen(); }
  void reopen() {
    if (disk) {
      opened.reset();
      opened = open_sqlite({folder.path});
    } else if (!opened) {
      opened = std::make_unique<MemoryStore>();
    }
  }
  Store& store() { return *opened; }
  void apply(const StoreChange& change) {
    const Status status = store().apply(change);
    INFO(status.message());
    REQUIRE(status.ok());
  }
  bool disk;
  TempFolder folder;
  std::unique_ptr<Store> opened;
};

JobRow row(const std::string& id, std::uint64_t submission) {
  JobRow row;
  row.id = id;
  row.submission = submission;
  row.spec = {{"name", id}, {"seed", 18446744073709551615u}};
  row.plan = {{"epoch", 1}};
  row.view = {4, {{net::NodeKey{}, 18446744073709551615u, "n1", "10.0.0.1:7001"}}};
  row.loss = std::numeric_limits<double>::quiet_NaN();
  row.submitted_us = 5;
  return row;
}

StoredLine line(const std::string& text, net::LogLevel level = net::LogLevel::info,
                const std::string& job = "", int node = 1) {
  StoredLine line;
  line.node.bytes[0] = static_cast<std::uint8_t>(node);
  line.nickname = "n" + std::to_string(node);
  line.line = {7, level, job, 3, text};
  return line;
}

std::string texts(const StoreRows& rows) {
  REQUIRE(rows.status.ok());
  std::string all;
  for (const StoredLine& one : rows.lines) all += one.line.text;
  return all;
}

std::vector<std::uint64_t> steps(const StoreRows& rows) {
  REQUIRE(rows.status.ok());
  std::vector<std::uint64_t> all;
  for (const json& step : rows.steps) all.push_back(step.at("step"));
  return all;
}

AppendRecord record(const std::string& job, std::uint64_t step, int mark = 0) {
  return {job, step, {{"step", step}, {"mark", mark}}};
}

}  // namespace

TEST_CASE("Store: the term rises with every start") {
  Case c(GENERATE(false, true));
  CHECK(c.store().open_term().value().term == 1);
  c.reopen();
  CHECK(c.store().open_term().value().term == 2);
}

TEST_CASE("Store: gives back who may come, as decided last, and the invites that are kept") {
  Case c(GENERATE(false, true));
  net::NodeKey first, second;
  first.bytes[0] = 1;
  second.bytes[0] = 2;
  Admission admission{first, Role::node, "attic \xc3\xa9", false, "invite 88ab03c1", 1'800'000'000'000'000};
  c.apply(PutAdmission{admission});
  c.apply(PutAdmission{{second, Role::operator_, "", false, "an operator (key 0300)", 7}});
  admission.revoked = true;
  c.apply(PutAdmission{admission});
  InviteRow used{first, Role::operator_, "for b", 5, 6, 0, {}, ""};
  c.apply(PutInvite{used});
  used.closed_us = 7;
  used.used_by = second;
  used.used_nickname = "b";
  c.apply(PutInvite{used});
  c.apply(PutInvite{{second, Role::node, "", 8, 9, 0, {}, ""}});
  c.apply(DropInvite{second});
  c.reopen();
  const SavedState saved = c.store().open_term().value();
  CHECK(saved.admissions ==
        std::vector<Admission>{admission, {second, Role::operator_, "", false, "an operator (key 0300)", 7}});
  CHECK(saved.invites == std::vector<InviteRow>{used});
}

TEST_CASE("Store: gives back the view and the jobs in order of submission") {
  Case c(GENERATE(false, true));
  const net::View view{9, row("a", 1).view.members};
  c.apply(PutJob{row("z", 1)});
  c.apply(PutJob{row("a", 2)});
  JobRow changed = row("z", 1);
  changed.state = JobState::failed;
  changed.reason = "node b3f1: gone \xff";
  changed.commit = 41;
  changed.validation_loss = 2.5;
  changed.skipped_updates = 3;
  changed.end_reason = "steps 39 to 41 made no update";
  changed.snapshot = Snapshot{40, {{0, net::NodeKey{}, 18446744073709551615u, "sha256:ab", ""}}};
  changed.checkpoints = {{20, 3, "sha256:cd"}, {30, 4, "sha256:ef"}};
  changed.unsealed = {"35-4", "40-5"};
  changed.mirrors = {{1, {net::NodeKey{}, 12}}, {4, {net::NodeKey{}, 8}}};
  changed.resumed = SealedCheckpoint{10, 2, "sha256:aa"};
  changed.went_back = 2;
  changed.stale_epoch = 7;
  changed.struck = 38;
  changed.snapshot_coming = Snapshot{41, {{1, net::NodeKey{}, 0, "", "disk full"}}};
  c.apply(PutJob{changed});
  c.apply(PutView{view});
  c.reopen();
  const SavedState saved = c.store().open_term().value();
  CHECK(saved.view == view);
  REQUIRE(saved.jobs.size() == 2);
  CHECK(saved.jobs[0].id == "z");
  CHECK(saved.jobs[0].state == JobState::failed);
  CHECK(saved.jobs[0].commit == 41u);
  CHECK(saved.jobs[0].validation_loss == 2.5);
  CHECK(saved.jobs[0].skipped_updates == 3);
  CHECK(saved.jobs[0].end_reason == changed.end_reason);
  CHECK(saved.jobs[0].snapshot == changed.snapshot);
  CHECK(saved.jobs[0].snapshot_coming == changed.snapshot_coming);
  CHECK(saved.jobs[0].checkpoints == changed.checkpoints);
  CHECK(saved.jobs[0].resumed == changed.resumed);
  CHECK(saved.jobs[0].unsealed == changed.unsealed);
  CHECK(saved.jobs[0].mirrors == changed.mirrors);
  CHECK(saved.jobs[0].went_back == 2);
  CHECK(saved.jobs[0].stale_epoch == 7);
  CHECK(saved.jobs[0].struck == 38);
  CHECK_FALSE(saved.jobs[1].resumed.has_value());
  CHECK_FALSE(saved.jobs[1].snapshot.has_value());
  CHECK(std::isnan(saved.jobs[0].loss));
  CHECK(saved.jobs[0].spec == changed.spec);
  CHECK(saved.jobs[0].view == changed.view);
  CHECK(saved.jobs[1].id == "a");
  CHECK_FALSE(saved.jobs[1].commit.has_value());
}

TEST_CASE("Store: logs by job, node, level, place and count") {
  Case c(GENERATE(false, true));
  c.apply(AppendLogs{{line("a", net::LogLevel::info, "j", 1), line("b", net::LogLevel::debug, "j", 2)}});
  c.apply(AppendLogs{{line("c", net::LogLevel::error, "k", 1), line("d", net::LogLevel::warning, "j", 1)}});
  c.reopen();
  const auto read = [&](ReadLogs query) { return c.store().query(query); };
  CHECK(texts(read({})) == "abcd");
  CHECK(texts(read({.job = "j", .node = ""})) == "abd");
  CHECK(texts(read({.job = "", .node = "n2"})) == "b");
  CHECK(texts(read({.job = "", .node = "01"})) == "acd");
  CHECK(texts(read({.job = "", .node = "%"})).empty());
  CHECK(texts(read({.job = "", .node = "", .level = net::LogLevel::warning})) == "cd");
  const StoreRows two = read({.job = "", .node = "", .limit = 2});
  CHECK(texts(two) == "ab");
  CHECK(texts(read({.job = "", .node = "", .after = two.lines.back().id})) == "cd");
  CHECK(texts(read({.job = "", .node = "", .limit = 2, .tail = true})) == "cd");
  const StoredLine first = read({}).lines.front();
  CHECK(first.nickname == "n1");
  CHECK(first.line == line("a", net::LogLevel::info, "j", 1).line);
}

TEST_CASE("Store: a log line that comes again is ignored, by node, boot and number") {
  Case c(GENERATE(false, true));
  const auto named = [](const std::string& text, int node, net::BootId boot, std::uint64_t number) {
    StoredLine one = line(text, net::LogLevel::info, "", node);
    one.boot = boot;
    one.number = number;
    return one;
  };
  const net::BootId boot = 18446744073709551615u;
  c.apply(AppendLogs{{named("a", 1, boot, 0), named("b", 1, boot, 1)}});
  c.reopen();
  c.apply(AppendLogs{
      {named("x", 1, boot, 1), named("c", 1, boot, 2), named("d", 2, boot, 1), named("e", 1, 7, 1)}});
  c.apply(AppendLogs{{line("f"), line("g")}});
  CHECK(texts(c.store().query(ReadLogs{})) == "abcdefg");
  CHECK(c.store().query(ReadLogs{}).lines[0].boot == boot);
}

TEST_CASE("Store: a record keeps each step once, the first one") {
  Case c(GENERATE(false, true));
  c.apply(PutJob{row("j", 1)});
  for (std::uint64_t step = 0; step < 4; ++step) c.apply(record("j", step));
  c.apply(record("j", 2, 99));
  c.reopen();
  c.apply(record("j", 3, 99));
  c.apply(record("j", 4));
  const auto read = [&](ReadRecord query) { return c.store().query(query); };
  CHECK(steps(read({"j", {}})) == std::vector<std::uint64_t>{0, 1, 2, 3, 4});
  CHECK(read({"j", {}}).steps[3].at("mark") == 0);
  CHECK(steps(read({"j", 2})) == std::vector<std::uint64_t>{2});
  CHECK(steps(read({"j", 9})).empty());
  CHECK(steps(read({"j", {}, 2, false})) == std::vector<std::uint64_t>{3, 4});
  CHECK(steps(read({"j", {}, 0, false})) == std::vector<std::uint64_t>{1, 2, 3, 4});
  CHECK(steps(read({"j", {}, 0, true, 2})) == std::vector<std::uint64_t>{0, 1});
  CHECK(steps(read({"nobody", {}})).empty());
  CHECK(c.store().apply(record("nobody", 0)).code() == Code::not_found);
}

TEST_CASE("SqliteStore: a record is a file with a header, and a torn last line is cut off") {
  Case c(true);
  c.apply(PutJob{row("j", 1)});
  c.apply(record("j", 0));
  c.apply(record("j", 1));
  const std::string path = c.folder.path + "/jobs/j/record.jsonl";
  {
    std::ofstream file(path, std::ios::app);
    file << "{\"step\": 2, \"ma";
  }
  c.reopen();
  c.apply(record("j", 2));
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string text; std::getline(file, text);) lines.push_back(text);
  REQUIRE(lines.size() == 4);
  CHECK(parse_record_header(json::parse(lines[0])).value().spec == row("j", 1).spec);
  for (std::size_t i = 1; i < lines.size(); ++i) CHECK(json::parse(lines[i]).at("step") == i - 1);
  CHECK(steps(c.store().query(ReadRecord{"j", {}})) == std::vector<std::uint64_t>{0, 1, 2});
}

TEST_CASE("Store: a record that was cut goes on where it was cut") {
  Case c(GENERATE(false, true));
  c.apply(PutJob{row("j", 1)});
  const auto all = [&] { return steps(c.store().query(ReadRecord{"j", {}})); };
  for (const std::uint64_t step : {0, 1, 2, 3}) c.apply(record("j", step));
  c.apply(CutRecord{"j", 2});
  CHECK(all() == std::vector<std::uint64_t>{0, 1});
  c.apply(record("j", 2, 7));
  c.reopen();
  CHECK(all() == std::vector<std::uint64_t>{0, 1, 2});
  CHECK(c.store().query(ReadRecord{"j", 2}).steps.at(0) == record("j", 2, 7).record);
  c.apply(CutRecord{"j", 0});
  CHECK(all().empty());
  c.apply(record("j", 0));
  c.reopen();
  CHECK(all() == std::vector<std::uint64_t>{0});
  c.apply(CutRecord{"unknown", 0});
}

TEST_CASE("SqliteStore: a record that was to be cut when the scheduler ended is cut") {
  Case c(true);
  JobRow back = row("j", 1);
  back.state = JobState::queued;
  back.commit = 1;
  c.apply(PutJob{back});
  for (const std::uint64_t step : {0, 1, 2, 3}) c.apply(record("j", step));
  c.reopen();
  CHECK(c.store().open_term().value().jobs.at(0).commit == 1u);
  CHECK(steps(c.store().query(ReadRecord{"j", {}})) == std::vector<std::uint64_t>{0, 1});
}

TEST_CASE("SqliteStore: a job whose row is behind its record catches up, with the reason of its early end") {
  Case c(true);
  JobRow behind = row("j", 1);
  behind.state = JobState::running;
  behind.commit = 3;
  behind.skipped_updates = 1;
  c.apply(PutJob{behind});
  for (const std::uint64_t number : {4, 5}) {
    RecordStep step;
    step.step = number;
    step.skipped_update = true;
    step.loss = 2.5;
    if (number == 5) step.end = "steps 4 to 5 made no update";
    c.apply(AppendRecord{"j", number, to_json(step)});
  }
  c.reopen();
  const JobRow restored = c.store().open_term().value().jobs.at(0);
  CHECK(restored.commit == 5);
  CHECK(restored.skipped_updates == 3);
  CHECK(restored.end_reason == "steps 4 to 5 made no update");
  CHECK(restored.loss == 2.5);
}

TEST_CASE("SqliteStore: a crash inside the header costs nothing") {
  Case c(true);
  c.apply(PutJob{row("j", 1)});
  std::filesystem::create_directories(c.folder.path + "/jobs/j");
  std::ofstream(c.folder.path + "/jobs/j/record.jsonl") << "{\"jo";
  c.apply(record("j", 0));
  c.reopen();
  CHECK(steps(c.store().query(ReadRecord{"j", {}})) == std::vector<std::uint64_t>{0});
}

TEST_CASE("SqliteStore: two schedulers cannot share a folder") {
  Case c(true);
  const auto second = SqliteStore::open({c.folder.path});
  REQUIRE_FALSE(second.ok());
  CHECK(second.status().code() == Code::refused);
  CHECK(second.status().message() == c.folder.path + ": another scheduler (process " +
                                         std::to_string(::getpid()) +
                                         ") is using this folder; stop it or give this one its own");
}

TEST_CASE("SqliteStore: another version's file is refused by name") {
  TempFolder folder;
  open_sqlite({folder.path});
  REQUIRE(
      SqliteDatabase::open(folder.path + "/scheduler.db").value().execute("PRAGMA user_version = 7").ok());
  CHECK(SqliteStore::open({folder.path}).status().message() ==
        folder.path +
            "/scheduler.db: it is of schema version 7, this program knows version 4; use the program that "
            "made it or another folder");
}

TEST_CASE("SqliteStore: a file that is no database is named") {
  TempFolder folder;
  std::ofstream(folder.path + "/scheduler.db") << std::string(4096, 'x');
  CHECK(SqliteStore::open({folder.path}).status().message() ==
        folder.path + "/scheduler.db: SQLite: file is not a database");
}

TEST_CASE("SqliteStore: old log lines go when there are too many bytes, the newest stay") {
  TempFolder folder;
  auto store = open_sqlite({.folder = folder.path, .log_bytes_max = 100'000});
  for (int i = 0; i < 1'000; ++i) REQUIRE(store->apply(AppendLogs{{line(std::string(100, 'a'))}}).ok());
  REQUIRE(store->apply(AppendLogs{{line("last")}}).ok());
  const StoreRows rows = store->query(ReadLogs{.job = "", .node = "", .limit = 10'000});
  CHECK(rows.lines.size() > 230);  // 380 bytes each, and pruned down to nine tenths
  CHECK(rows.lines.size() < 270);
  CHECK(rows.lines.back().line.text == "last");
}

TEST_CASE("SqliteStore: log lines past their age go") {
  TempFolder folder;
  auto store = open_sqlite({.folder = folder.path, .log_age_us_max = 1'000});
  StoredLine young = line("young");
  young.line.wall_us = 10'000;
  REQUIRE(store->apply(AppendLogs{std::vector<StoredLine>(999, line("old"))}).ok());
  REQUIRE(store->apply(AppendLogs{{young}}).ok());
  CHECK(texts(store->query(ReadLogs{})) == "young");
}
