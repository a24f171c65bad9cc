// Who is alive: Hello, Heartbeat, Goodbye, silence and closed connections, and the views that follow.
#include <algorithm>
#include <cstdlib>
#include <limits>

#include "net/heartbeat.h"
#include "scheduler/scheduler_state.h"

namespace sidestep::scheduler {
namespace {

// Clocks this far apart are worth a word; less may be the message's way.
constexpr std::int64_t clock_apart_us = 2'000'000;

constexpr std::size_t told_at_once_max = 64;
constexpr std::int64_t told_every_us_a_node = 5'000;

// Beyond the year 100000, either way.
constexpr std::int64_t wall_us_max = std::numeric_limits<std::int64_t>::max() / 2;

std::string ms_text(std::int64_t us) { return std::to_string(us / 1000) + " ms"; }

}  // namespace

std::string SchedulerCore::State::label(const net::Member& member) {
  return "node " + member.key.short_name() + " (" + member.nickname + ", " + member.data_address + ")";
}

SchedulerCore::State::Node* SchedulerCore::State::sender(const net::NodeKey& peer,
                                                         const net::Envelope& envelope) {
  const auto node = nodes.find(peer);
  if (node != nodes.end() && node->second.member.boot == envelope.boot && node->second.greeted)
    return &node->second;
  log(net::LogLevel::debug, "",
      "dropped " + std::string(net::name_of(envelope.message)) + " from " + peer.short_name() +
          ": it is no member now; it says Hello first");
  return nullptr;
}

bool SchedulerCore::State::all_greeted() const {
  return std::all_of(nodes.begin(), nodes.end(), [](const auto& entry) { return entry.second.greeted; });
}

void SchedulerCore::State::on(const net::NodeKey& peer, const net::Envelope& envelope,
                              const net::Hello& hello) {
  const auto known = nodes.find(peer);
  if (known != nodes.end() && known->second.member.boot != envelope.boot) {
    const Node& other = known->second;
    const bool other_lives =
        other.heard && !other.closed_us &&
        now_us - other.heard_us < net::silent_dead_us(options.silent_dead_us, nodes.size());
    if (other_lives) {
      const std::string reason = "another daemon with this key is running (" + other.member.nickname + ", " +
                                 other.member.data_address + "); give this one its own key";
      log(net::LogLevel::warning, "", "refused a daemon at " + hello.data_address + ": " + reason);
      send(peer, envelope.boot, net::Refusal{reason});
      return;
    }
    declare_dead(peer, "started anew");
  }
  if (admissions.role_of(peer) == Role::operator_) {
    send(peer, envelope.boot,
         net::Refusal{
             "this key is an operator's; give the daemon its own key and let that in by `sidestep admit`"});
    return;
  }
  if (!nodes.contains(peer)) {
    join(peer, envelope, hello);
    return;
  }
  Node& node = nodes[peer];
  const bool first = !node.greeted;
  node.greeted = true;
  node.resources = hello.resources;
  node.progress = hello.progress;
  follow_progress(node);
  welcome(node);
  if (first) log(net::LogLevel::info, "", label(node.member) + " is back after the scheduler's restart");
  job_meets_node(node, first);
}

void SchedulerCore::State::join(const net::NodeKey& key, const net::Envelope& envelope,
                                const net::Hello& hello) {
  Node& node = nodes[key];
  node.member = {key, envelope.boot, hello.nickname, hello.data_address};
  node.resources = hello.resources;
  node.progress = hello.progress;
  node.greeted = node.heard = true;
  node.heard_us = now_us;
  change_view();
  if (may_tell_view()) tell_view();
  welcome(node);
  log(net::LogLevel::info, "",
      label(node.member) + " joined, " + hello.resources.device + ", " +
          std::to_string(hello.resources.threads) + (hello.resources.threads == 1 ? " thread" : " threads") +
          "; view " + std::to_string(view.number) + " of " + std::to_string(nodes.size()) +
          (nodes.size() == 1 ? " node" : " nodes"));
  // Peers may say anything, and a difference must not overflow.
  const std::int64_t told_us = std::clamp(hello.wall_us, -wall_us_max, wall_us_max);
  if (const std::int64_t ahead_us = told_us - wall_us();
      hello.wall_us != 0 && (ahead_us > clock_apart_us || ahead_us < -clock_apart_us))
    log(net::LogLevel::warning, "",
        label(node.member) + ": its clock is " + std::to_string((std::abs(ahead_us) + 500'000) / 1'000'000) +
            " s " + (ahead_us > 0 ? "ahead of" : "behind") +
            " the scheduler's; nothing is decided by it, but its log lines are out of place: set both by "
            "NTP");
  job_meets_node(node, false);
}

void SchedulerCore::State::welcome(const Node& node) {
  send(node.member.key, node.member.boot, net::Welcome{term, options.boot, options.heartbeat_us, view});
  post_guests(node);
}

void SchedulerCore::State::on(const net::NodeKey& peer, const net::Envelope& envelope,
                              const net::Heartbeat& heartbeat) {
  // Answered for strangers too: term, boot and view tell them that they must say Hello.
  const JobRow* job = heartbeat.progress ? find_row(heartbeat.progress->job) : nullptr;
  send(peer, envelope.boot,
       net::HeartbeatReply{heartbeat.sequence, term, options.boot, told_view, job == nullptr ? "" : job->id,
                           job == nullptr ? std::nullopt : job->commit, times_every(job)});
  const auto node = nodes.find(peer);
  if (node == nodes.end() || node->second.member.boot != envelope.boot) return;
  node->second.progress = heartbeat.progress;
  follow_progress(node->second);
  end_if_finished();
}

void SchedulerCore::State::on(const net::NodeKey& peer, const net::Envelope& envelope,
                              const net::Goodbye& goodbye) {
  const auto node = nodes.find(peer);
  if (node == nodes.end() || node->second.member.boot != envelope.boot) return;
  declare_dead(peer, "stopped on purpose (" + goodbye.reason + ")");
}

void SchedulerCore::State::on(const net::NodeKey& peer, const net::Envelope&, const net::Ack& ack) {
  courier.on_ack(peer, ack);
  take_ack_of_offer(peer, ack);
  std::erase_if(ending, [&](const auto& entry) {
    return entry.second == peer && std::find(ack.ids.begin(), ack.ids.end(), entry.first) != ack.ids.end();
  });
}

void SchedulerCore::State::find_deaths() {
  const std::int64_t silent_limit_us = net::silent_dead_us(options.silent_dead_us, nodes.size());
  std::vector<std::pair<net::NodeKey, std::string>> dead;
  for (const auto& [key, node] : nodes) {
    const std::int64_t silent_us = now_us - node.heard_us;
    if (node.closed_us && now_us - *node.closed_us >= options.closed_dead_us)
      dead.emplace_back(key, "its connection was closed " + ms_text(now_us - *node.closed_us) +
                                 " ago, limit " + ms_text(options.closed_dead_us));
    else if (silent_us >= silent_limit_us)
      dead.emplace_back(key, "silent for " + ms_text(silent_us) + ", limit " + ms_text(silent_limit_us));
  }
  for (const auto& [key, why] : dead) declare_dead(key, why);
}

void SchedulerCore::State::declare_dead(const net::NodeKey& key, const std::string& why) {
  const auto it = nodes.find(key);
  SIDESTEP_ASSERT(it != nodes.end());
  const net::Member member = it->second.member;
  const std::int64_t detect_us = now_us - it->second.closed_us.value_or(it->second.heard_us);
  nodes.erase(it);
  courier.drop_if([&](const net::NodeKey& peer, const net::Message&) { return peer == key; });
  std::erase_if(ending, [&](const auto& entry) { return entry.second == key; });
  change_view();
  tell_view();
  log(net::LogLevel::warning, "",
      label(member) + ": " + why + "; view " + std::to_string(view.number) + " of " +
          std::to_string(nodes.size()) + (nodes.size() == 1 ? " node" : " nodes"));
  job_loses_node(member, why, detect_us);
}

void SchedulerCore::State::change_view() {
  ++view.number;
  view.members.clear();
  for (const auto& [key, node] : nodes) view.members.push_back(node.member);
  persist(PutView{view});
}

// A view for everybody costs the square of their number: when hundreds join, they are told of several at a
// time. Whoever is new has the view from its Welcome; deaths are told at once.
bool SchedulerCore::State::may_tell_view() const {
  return nodes.size() <= told_at_once_max ||
         now_us - view_told_us >= told_every_us_a_node * static_cast<std::int64_t>(nodes.size());
}

void SchedulerCore::State::tell_view() {
  told_view = view.number;
  view_told_us = now_us;
  courier.drop_if([](const net::NodeKey&, const net::Message& message) {
    return std::holds_alternative<net::ViewUpdate>(message);
  });
  for (const auto& [key, node] : nodes)
    if (node.greeted) post(node, net::ViewUpdate{term, view});
}

}  // namespace sidestep::scheduler
