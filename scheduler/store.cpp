#include "scheduler/store.h"

#include <algorithm>
#include <array>
#include <limits>

#include "scheduler/memory_store.h"
#include "scheduler/requests.h"
#include "scheduler/store_json.h"

namespace sidestep::scheduler {
namespace {

constexpr std::array<std::pair<JobState, std::string_view>, 7> state_names{{
    {JobState::queued, "queued"},
    {JobState::preparing, "preparing"},
    {JobState::starting, "starting"},
    {JobState::running, "running"},
    {JobState::done, "done"},
    {JobState::failed, "failed"},
    {JobState::cancelled, "cancelled"},
}};

bool wanted(const StoredLine& stored, const ReadLogs& query) {
  return stored.id > query.after && stored.line.level >= query.level &&
         (query.job.empty() || stored.line.job == query.job) &&
         (query.node.empty() || stored.nickname == query.node || stored.node.hex().starts_with(query.node));
}

}  // namespace

std::string_view to_string(JobState state) {
  for (const auto& [known, name] : state_names)
    if (known == state) return name;
  return "unknown";
}

bool ended(JobState state) {
  return state == JobState::done || state == JobState::failed || state == JobState::cancelled;
}

nlohmann::json view_to_json(const net::View& view) {
  nlohmann::json members = nlohmann::json::array();
  for (const net::Member& member : view.members)
    members.push_back({{"key", member.key.hex()},
                       {"boot", member.boot},
                       {"nickname", member.nickname},
                       {"data_address", member.data_address}});
  return {{"number", view.number}, {"members", std::move(members)}};
}

net::View read_view(const nlohmann::json& json, JsonReader& reader) {
  net::View view;
  view.number = reader.natural(reader.member(json, "number"));
  for (const nlohmann::json& entry : reader.list(reader.member(json, "members"))) {
    net::Member& member = view.members.emplace_back();
    member.key = reader.key(reader.text(reader.member(entry, "key")));
    member.boot = reader.natural(reader.member(entry, "boot"));
    member.nickname = reader.text(reader.member(entry, "nickname"));
    member.data_address = reader.text(reader.member(entry, "data_address"));
  }
  return view;
}

bool Snapshot::has(std::uint32_t stage) const {
  return std::ranges::any_of(
      copies, [&](const SnapshotCopy& copy) { return copy.stage == stage && copy.problem.empty(); });
}

namespace {

nlohmann::json snapshot_to_json(const std::optional<Snapshot>& snapshot) {
  if (!snapshot) return nullptr;
  nlohmann::json copies = nlohmann::json::array();
  for (const SnapshotCopy& copy : snapshot->copies)
    copies.push_back({{"stage", copy.stage},
                      {"node", copy.node.hex()},
                      {"elements", copy.elements},
                      {"digest", copy.digest},
                      {"problem", copy.problem}});
  return {{"commit", snapshot->commit}, {"copies", std::move(copies)}};
}

std::optional<Snapshot> read_snapshot(const nlohmann::json& json, JsonReader& reader) {
  if (json.is_null()) return std::nullopt;
  Snapshot snapshot;
  snapshot.commit = reader.natural(reader.member(json, "commit"));
  for (const nlohmann::json& entry : reader.list(reader.member(json, "copies"))) {
    SnapshotCopy& copy = snapshot.copies.emplace_back();
    copy.stage = static_cast<std::uint32_t>(
        reader.natural(reader.member(entry, "stage"), std::numeric_limits<std::uint32_t>::max()));
    copy.node = reader.key(reader.text(reader.member(entry, "node")));
    copy.elements = reader.natural(reader.member(entry, "elements"));
    copy.digest = reader.text(reader.member(entry, "digest"));
    copy.problem = reader.text(reader.member(entry, "problem"));
  }
  return snapshot;
}

nlohmann::json checkpoints_to_json(const std::vector<SealedCheckpoint>& checkpoints) {
  nlohmann::json list = nlohmann::json::array();
  for (const SealedCheckpoint& one : checkpoints)
    list.push_back({{"commit", one.commit}, {"epoch", one.epoch}, {"digest", one.digest}});
  return list;
}

std::vector<SealedCheckpoint> read_checkpoints(const nlohmann::json& json, JsonReader& reader) {
  std::vector<SealedCheckpoint> checkpoints;
  for (const nlohmann::json& entry : reader.list(json))
    checkpoints.push_back({reader.natural(reader.member(entry, "commit")),
                           reader.natural(reader.member(entry, "epoch")),
                           reader.text(reader.member(entry, "digest"))});
  return checkpoints;
}

nlohmann::json mirrors_to_json(const std::map<std::uint32_t, KeptMirror>& mirrors) {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [stage, kept] : mirrors)
    list.push_back({{"stage", stage}, {"node", kept.node.hex()}, {"commit", kept.commit}});
  return list;
}

}  // namespace

nlohmann::json job_row_to_json(const JobRow& row) {
  return {{"id", row.id},
          {"submission", row.submission},
          {"spec", row.spec},
          {"state", to_string(row.state)},
          {"reason", row.reason},
          {"plan", row.plan},
          {"plan_at_commit", row.plan_at_commit},
          {"view", view_to_json(row.view)},
          {"last_epoch", row.last_epoch},
          {"offered", row.offered},
          {"handing_over", row.handing_over},
          {"commit", row.commit ? nlohmann::json(*row.commit) : nlohmann::json()},
          {"loss", number_json(row.loss)},
          {"validation_loss", row.validation_loss ? number_json(*row.validation_loss) : nlohmann::json()},
          {"tokens_per_s", number_json(row.tokens_per_s)},
          {"skipped_updates", row.skipped_updates},
          {"end_reason", row.end_reason},
          {"recoveries", row.recoveries},
          {"recovered", row.recovered},
          {"snapshot", snapshot_to_json(row.snapshot)},
          {"snapshot_coming", snapshot_to_json(row.snapshot_coming)},
          {"checkpoints", checkpoints_to_json(row.checkpoints)},
          {"unsealed", row.unsealed},
          {"mirrors", mirrors_to_json(row.mirrors)},
          {"went_back", row.went_back},
          {"resumed", row.resumed ? checkpoints_to_json({*row.resumed}) : nlohmann::json()},
          {"stale_epoch", row.stale_epoch},
          {"struck", row.struck},
          {"submitted_us", row.submitted_us},
          {"started_us", row.started_us},
          {"ended_us", row.ended_us}};
}

Result<JobRow> parse_job_row(const nlohmann::json& json) {
  JsonReader reader("stored job");
  const auto time = [&](const char* key) {
    return static_cast<std::int64_t>(
        reader.natural(reader.member(json, key), std::numeric_limits<std::int64_t>::max()));
  };
  JobRow row;
  row.id = reader.text(reader.member(json, "id"));
  row.submission = reader.natural(reader.member(json, "submission"));
  row.spec = reader.member(json, "spec");
  const std::string state = reader.text(reader.member(json, "state"));
  const auto known = std::find_if(state_names.begin(), state_names.end(),
                                  [&](const auto& entry) { return entry.second == state; });
  if (known == state_names.end())
    reader.fail("unknown state \"" + state + '"');
  else
    row.state = known->first;
  row.reason = reader.text(reader.member(json, "reason"));
  row.plan = reader.member(json, "plan");
  row.plan_at_commit = reader.flag(reader.member(json, "plan_at_commit"));
  row.view = read_view(reader.member(json, "view"), reader);
  row.last_epoch = reader.natural(reader.member(json, "last_epoch"));
  row.offered = reader.member(json, "offered");
  row.handing_over = reader.member(json, "handing_over");
  if (const nlohmann::json& commit = reader.member(json, "commit"); !commit.is_null())
    row.commit = reader.natural(commit);
  row.loss = reader.number(reader.member(json, "loss"));
  if (const nlohmann::json& loss = reader.member(json, "validation_loss"); !loss.is_null())
    row.validation_loss = reader.number(loss);
  row.tokens_per_s = reader.number(reader.member(json, "tokens_per_s"));
  row.skipped_updates = reader.natural(reader.member(json, "skipped_updates"));
  row.end_reason = reader.text(reader.member(json, "end_reason"));
  row.recoveries = reader.list(reader.member(json, "recoveries"));
  row.recovered = reader.natural(reader.member(json, "recovered"));
  row.snapshot = read_snapshot(reader.member(json, "snapshot"), reader);
  row.snapshot_coming = read_snapshot(reader.member(json, "snapshot_coming"), reader);
  row.checkpoints = read_checkpoints(reader.member(json, "checkpoints"), reader);
  for (const nlohmann::json& folder : reader.list(reader.member(json, "unsealed")))
    row.unsealed.push_back(reader.text(folder));
  for (const nlohmann::json& entry : reader.list(reader.member(json, "mirrors")))
    row.mirrors[reader.natural32(reader.member(entry, "stage"))] = {
        reader.key(reader.text(reader.member(entry, "node"))),
        reader.natural(reader.member(entry, "commit"))};
  row.went_back = reader.natural(reader.member(json, "went_back"));
  if (const nlohmann::json& resumed = reader.member(json, "resumed"); !resumed.is_null())
    if (std::vector<SealedCheckpoint> one = read_checkpoints(resumed, reader); !one.empty())
      row.resumed = std::move(one.front());
  row.struck = reader.natural(reader.member(json, "struck"));
  row.stale_epoch = reader.natural(reader.member(json, "stale_epoch"));
  row.submitted_us = time("submitted_us");
  row.started_us = time("started_us");
  row.ended_us = time("ended_us");
  if (!reader.ok()) return reader.status();
  return row;
}

Result<SavedState> MemoryStore::open_term() {
  SavedState saved{++term_, view_, {}, {}, {}};
  for (const auto& [id, row] : jobs_) saved.jobs.push_back(row);
  std::sort(saved.jobs.begin(), saved.jobs.end(),
            [](const JobRow& a, const JobRow& b) { return a.submission < b.submission; });
  for (const auto& [key, admission] : admissions_) saved.admissions.push_back(admission);
  for (const auto& [key, invite] : invites_) saved.invites.push_back(invite);
  return saved;
}

Status MemoryStore::apply(const StoreChange& change) {
  if (const auto* job = std::get_if<PutJob>(&change)) {
    jobs_[job->row.id] = job->row;
  } else if (const auto* view = std::get_if<PutView>(&change)) {
    view_ = view->view;
  } else if (const auto* record = std::get_if<AppendRecord>(&change)) {
    if (!jobs_.contains(record->job))
      return Status::not_found("no job \"" + record->job + "\" to keep a record of");
    records_[record->job].emplace(record->step, record->record);
  } else if (const auto* cut = std::get_if<CutRecord>(&change)) {
    std::erase_if(records_[cut->job], [&](const auto& entry) { return entry.first >= cut->from; });
  } else if (const auto* logs = std::get_if<AppendLogs>(&change)) {
    for (const StoredLine& line : logs->lines) {
      if (line.boot != 0 && !line_names_.emplace(line.node, line.boot, line.number).second) continue;
      lines_.push_back(line);
      lines_.back().id = lines_.size();
    }
  } else if (const auto* admission = std::get_if<PutAdmission>(&change)) {
    admissions_[admission->admission.key] = admission->admission;
  } else if (const auto* invite = std::get_if<PutInvite>(&change)) {
    invites_[invite->invite.key] = invite->invite;
  } else if (const auto* dropped = std::get_if<DropInvite>(&change)) {
    invites_.erase(dropped->key);
  }
  return {};
}

StoreRows MemoryStore::query(const StoreQuery& query) const {
  StoreRows rows;
  if (const auto* logs = std::get_if<ReadLogs>(&query)) {
    for (const StoredLine& line : lines_) {
      if (!wanted(line, *logs)) continue;
      if (!logs->tail && rows.lines.size() == logs->limit) break;
      rows.lines.push_back(line);
    }
    if (rows.lines.size() > logs->limit)
      rows.lines.erase(rows.lines.begin(), rows.lines.end() - static_cast<std::ptrdiff_t>(logs->limit));
    return rows;
  }
  const auto& read = std::get<ReadRecord>(query);
  const auto record = records_.find(read.job);
  if (record == records_.end()) return rows;
  for (const auto& [step, json] : record->second)
    if (in_range(read, step) && rows.steps.size() < read.limit) rows.steps.push_back(json);
  return rows;
}

bool in_range(const ReadRecord& query, std::uint64_t step) {
  if (query.step) return step == *query.step;
  return step > query.after || (query.from_start && query.after == 0);
}

}  // namespace sidestep::scheduler
