// What daemons log, kept once each, in order of arrival.
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

void SchedulerCore::State::on(const net::NodeKey& peer, const net::Envelope& envelope,
                              const net::LogBatch& batch) {
  const Node* node = sender(peer, envelope);
  if (node == nullptr) return;
  // The store knows which lines it has: an Ack may have been lost, also with the scheduler that sent it.
  AppendLogs change;
  std::uint64_t number = batch.first;
  for (const net::LogLine& line : batch.lines)
    change.lines.push_back({0, peer, node->member.nickname, line, envelope.boot, number++});
  if (!change.lines.empty()) persist(std::move(change));
  acknowledge(peer, envelope);
}

}  // namespace sidestep::scheduler
