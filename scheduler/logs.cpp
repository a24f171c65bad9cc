// What daemons log, kept once each, in order of arrival.
#include <algorithm>
#include <array>

#include "scheduler/requests.h"
#include "scheduler/scheduler_state.h"

namespace sidestep::scheduler {
namespace {

constexpr std::array<std::pair<net::LogLevel, std::string_view>, 4> level_names{{
    {net::LogLevel::debug, "debug"},
    {net::LogLevel::info, "info"},
    {net::LogLevel::warning, "warning"},
    {net::LogLevel::error, "error"},
}};

}  // namespace

std::string_view to_string(net::LogLevel level) {
  for (const auto& [known, name] : level_names)
    if (known == level) return name;
  return "unknown";
}

Result<net::LogLevel> log_level_from_string(std::string_view name) {
  for (const auto& [level, known] : level_names)
    if (known == name) return level;
  return Status::invalid("unknown level \"" + std::string(name) + "\"; known: debug, info, warning, error");
}

std::vector<std::uint64_t> SeenNumbers::add(std::uint64_t first, std::uint64_t count) {
  std::vector<std::uint64_t> fresh;
  if (count == 0 || first + count < first) return fresh;
  std::uint64_t begin = first;
  std::uint64_t end = first + count;
  auto range = ranges_.upper_bound(first);
  if (range != ranges_.begin() && std::prev(range)->second >= first) --range;
  std::uint64_t next = first;
  while (range != ranges_.end() && range->first <= end) {
    for (; next < range->first; ++next) fresh.push_back(next);
    next = std::max(next, range->second);
    begin = std::min(begin, range->first);
    end = std::max(end, range->second);
    range = ranges_.erase(range);
  }
  for (; next < first + count; ++next) fresh.push_back(next);
  ranges_[begin] = end;
  return fresh;
}

void SchedulerCore::State::on(const net::NodeKey& peer, const net::Envelope& envelope,
                              const net::LogBatch& batch) {
  const Node* node = sender(peer, envelope);
  if (node == nullptr) return;
  AppendLogs change;
  for (const std::uint64_t number : seen_logs[{peer, envelope.boot}].add(batch.first, batch.lines.size()))
    change.lines.push_back({0, peer, node->member.nickname, batch.lines[number - batch.first]});
  if (!change.lines.empty()) persist(std::move(change));
  acknowledge(peer, envelope);
}

}  // namespace sidestep::scheduler
