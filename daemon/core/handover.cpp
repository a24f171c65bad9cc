#include "daemon/core/handover.h"

#include <algorithm>

namespace sidestep::daemon {
namespace {

// Records kept, written out: a Standing with all of them has to fit into a message.
constexpr std::size_t records_bytes_max = 8 << 20;

// What Commit::record is of that step.
bool is_record(const nlohmann::json& json, std::uint64_t step) {
  if (!json.is_object() || !json.contains("record") || !json.contains("end") || !json["end"].is_string() ||
      !json.contains("next_epoch") || !json["next_epoch"].is_number_unsigned())
    return false;
  const nlohmann::json& record = json["record"];
  return record.is_object() && record.contains("step") && record["step"] == step;
}

}  // namespace

void Handover::keep(const net::Commit& commit) {
  last_ = commit.terms;
  if (!is_record(commit.record, commit.scope.step)) return;
  add(commit.scope.step, commit.record);
  while (records_bytes_ > records_bytes_max && records_.size() > 1) forget_first();
}

void Handover::add(std::uint64_t step, const nlohmann::json& record) {
  const auto [entry, is_new] = records_.try_emplace(step);
  if (!is_new) return;
  entry->second = {record, record.dump().size()};
  records_bytes_ += entry->second.bytes;
}

void Handover::forget_first() {
  records_bytes_ -= records_.begin()->second.bytes;
  records_.erase(records_.begin());
}

void Handover::forget_stored(std::uint64_t step) {
  stored_ = std::max(stored_.value_or(0), step);
  while (!records_.empty() && records_.begin()->first <= step) forget_first();
}

void Handover::begin(std::int64_t now_us, std::uint64_t next, std::optional<std::uint64_t> stored) {
  standings_.clear();
  if (stored) forget_stored(*stored);
  net::Standing standing{context_.scope_of(next), last_, nlohmann::json::array()};
  for (const auto& [step, kept] : records_) standing.records.push_back({step, kept.record});
  context_.post(now_us, context_.lead, std::move(standing));
}

void Handover::on_standing(std::int64_t now_us, const net::NodeKey& peer, const net::Standing& standing) {
  if (!context_.leads() || !standings_.emplace(peer, standing).second) return;
  if (standings_.size() == context_.plan.stages_of.size()) resume(now_us);
}

void Handover::resume(std::int64_t now_us) {
  const net::Standing* ahead = nullptr;
  for (const auto& [node, standing] : standings_) {
    if (ahead == nullptr || standing.scope.step > ahead->scope.step) ahead = &standing;
    for (const nlohmann::json& entry : standing.records)
      if (entry.is_array() && entry.size() == 2 && entry[0].is_number_unsigned() &&
          is_record(entry[1], entry[0].get<std::uint64_t>()))
        add(entry[0].get<std::uint64_t>(), entry[1]);
  }
  const std::uint64_t next = ahead->scope.step;
  for (std::uint64_t step = stored_ ? *stored_ + 1 : context_.spec.first_commit(); step < next; ++step) {
    const auto record = records_.find(step);
    if (record == records_.end())
      return context_.fail(
          now_us, "the record of step " + std::to_string(step) + " was lost with the origins that had it");
    report_(now_us, record->second.record);
  }
  context_.log(now_us, net::LogLevel::info, std::nullopt,
               "goes on at step " + std::to_string(next) + " under plan " +
                   std::to_string(context_.plan.epoch) + ", on " +
                   std::to_string(context_.plan.stages_of.size()) + " nodes");
  const net::Resume resume{context_.scope_of(next), ahead->terms};
  for (const auto& [node, stages] : context_.plan.stages_of) context_.post(now_us, node, resume);
  for (const auto& [node, stages] : context_.plan.learners)
    if (!context_.plan.stages_of.contains(node)) context_.post(now_us, node, resume);
}

std::string Handover::describe() const {
  if (!context_.leads()) return {};
  for (const auto& [node, stages] : context_.plan.stages_of)
    if (!standings_.contains(node)) return "waits to hear where " + context_.name_of(node) + " stands";
  return {};
}

}  // namespace sidestep::daemon
