#include "daemon/simulator/sim_cluster.h"

#include <algorithm>

#include "net/clock.h"
#include "net/codec.h"
#include "scheduler/memory_store.h"

namespace sidestep::sim {

using net::Channel;
using net::NodeKey;
using net::SimPacket;

namespace {

constexpr std::size_t last_lines_max = 60;

NodeKey draw_key(net::Random& random) {
  NodeKey key;
  for (std::uint8_t& byte : key.bytes) byte = static_cast<std::uint8_t>(random.next());
  return key;
}

// Of what is sent most: tensors with a header of about this size, acknowledgements and heartbeats.
std::optional<std::size_t> plain_bytes(const net::Envelope& envelope) {
  static constexpr std::size_t header_bytes = 200, small_bytes = 60;
  return std::visit(
      [](const auto& message) -> std::optional<std::size_t> {
        using Message = std::decay_t<decltype(message)>;
        if constexpr (requires { message.tensor; })
          return header_bytes + message.tensor.payload.size();
        else if constexpr (std::is_same_v<Message, net::Ack> || std::is_same_v<Message, net::Heartbeat> ||
                           std::is_same_v<Message, net::HeartbeatReply>)
          return small_bytes;
        else
          return std::nullopt;
      },
      envelope.message);
}

std::uint64_t hash_of(const net::Frames& frames) {
  std::uint64_t hash = 14695981039346656037u;
  for (const net::Payload& frame : frames) {
    for (std::size_t i = 0; i < frame.size(); ++i) {
      hash = (hash ^ static_cast<std::uint64_t>(frame.data()[i])) * 1099511628211u;
    }
  }
  return hash;
}

}  // namespace

SimCluster::SimCluster(SimOptions options)
    : options_(std::move(options)),
      observer_(options_.observer != nullptr ? *options_.observer : nobody_),
      random_(options_.seed),
      network_({.seed = random_.next(),
                .link = options_.link,
                .link_of = link_by_key(),
                .plain_bytes = options_.through_codec ? nullptr : plain_bytes}),
      scheduler_key_(draw_key(random_)),
      store_(std::make_unique<scheduler::MemoryStore>()),
      operator_key_(draw_key(random_)) {
  if (options_.fake.folder == nullptr) options_.fake.folder = std::make_shared<FakeFolder>();
  for (std::size_t i = 0; i < options_.nodes; ++i) {
    Node& node = nodes_.emplace_back();
    node.key = draw_key(random_);
    node.nickname = "node-" + std::to_string(i + 1);
    numbers_[node.key] = i;
    if (i < options_.speeds.size()) node.speed = options_.speeds[i];
  }
  if (options_.observer != nullptr)
    network_.set_sent_observer([this](const SimPacket& packet, std::int64_t arrival_us) {
      observer_.on_sent(now_us(), packet, arrival_us);
    });
  if (!options_.trace) return;
  network_.set_observer([this](std::int64_t now_us, const SimPacket& packet) {
    write_trace(std::to_string(now_us) + " " + name_of(packet.from) + " -> " + name_of(packet.to) +
                (packet.channel == Channel::data ? " data " : " control ") +
                std::string(net::name_of(packet.envelope.message)) + " " +
                std::to_string(packet.envelope.id) + " " +
                std::to_string(hash_of(net::encode(packet.envelope))));
  });
}

std::function<net::SimLinkOptions(const NodeKey&, const NodeKey&)> SimCluster::link_by_key() const {
  if (!options_.link_of) return {};
  return [this](const NodeKey& from, const NodeKey& to) {
    return options_.link_of(find_node(from), find_node(to));
  };
}

SimCluster::~SimCluster() {
  // Buses say goodbye to the network before it goes; cores before what their actions use.
  for (Node& node : nodes_) node.bus.reset();
  scheduler_bus_.reset();
  operator_bus_.reset();
}

// ---- time

void SimCluster::at(std::int64_t time_us, std::function<void()> what) {
  events_.emplace(std::pair(std::max(time_us, now_us()), next_event_++), std::move(what));
}

void SimCluster::after(std::int64_t delay_us, std::function<void()> what) {
  at(now_us() + delay_us, std::move(what));
}

void SimCluster::step() {
  const std::optional<std::int64_t> delivery_us = network_.next_event_us();
  if (delivery_us && (events_.empty() || *delivery_us <= events_.begin()->first.first)) {
    network_.step();
    return;
  }
  SIDESTEP_ASSERT(!events_.empty());
  auto event = events_.extract(events_.begin());
  network_.run_until(event.key().first);
  event.mapped()();
}

bool SimCluster::run_until(const std::function<bool()>& condition, std::int64_t bound_us) {
  const std::int64_t end_us = now_us() + bound_us;
  const std::pair bound(end_us, next_event_);
  at(end_us, [] {});
  bool holds = condition();
  while (!holds && events_.contains(bound)) {
    step();
    holds = condition();
  }
  events_.erase(bound);
  return holds;
}

void SimCluster::run_for(std::int64_t duration_us) {
  run_until([] { return false; }, duration_us);
}

bool SimCluster::run_until_commit(const std::string& id, std::uint64_t step, std::int64_t bound_us) {
  return run_until(
      [&] {
        const scheduler::JobRow* row = job(id);
        return row != nullptr && row->commit && *row->commit >= step;
      },
      bound_us);
}

bool SimCluster::run_until_joined(std::size_t nodes, std::int64_t bound_us) {
  const std::int64_t end_us = now_us() + bound_us;
  while (now_us() < end_us) {
    const std::optional<net::Reply> reply = ask("nodes", nlohmann::json::object(), end_us - now_us());
    if (reply && reply->body.contains("nodes") && reply->body["nodes"].size() >= nodes) return true;
    run_for(100 * net::ms);
  }
  return false;
}

bool SimCluster::run_until_ended(const std::string& id, std::int64_t bound_us) {
  return run_until(
      [&] {
        const scheduler::JobRow* row = job(id);
        return row != nullptr && ended(row->state);
      },
      bound_us);
}

// ---- nodes

void SimCluster::start() {
  after(random_.between(0, 100 * net::ms), [this] { start_scheduler(); });
  for (std::size_t i = 0; i + options_.nodes_later < nodes_.size(); ++i) {
    after(random_.between(0, 100 * net::ms), [this, i] { start_node(i); });
  }
  start_operator();
}

bool SimCluster::runs(std::size_t node, net::BootId boot) const {
  return nodes_[node].core != nullptr && nodes_[node].boot == boot;
}

void SimCluster::cut_one_way(std::size_t a, std::size_t b) { network_.cut(key(a), key(b)); }

void SimCluster::cut(std::size_t a, std::size_t b) { network_.cut_both(key(a), key(b)); }

void SimCluster::heal(std::size_t a, std::size_t b) {
  network_.heal(key(a), key(b));
  network_.heal(key(b), key(a));
}

void SimCluster::cut_from_scheduler(std::size_t node) { network_.cut_both(key(node), scheduler_key_); }

void SimCluster::heal_to_scheduler(std::size_t node) {
  network_.heal(key(node), scheduler_key_);
  network_.heal(scheduler_key_, key(node));
}

// ---- what is seen

const scheduler::JobRow* SimCluster::job(const std::string& id) const {
  const auto it = jobs_.find(id);
  return it == jobs_.end() ? nullptr : &it->second;
}

std::vector<scheduler::RecordStep> SimCluster::record(const std::string& id) const {
  scheduler::ReadRecord query;
  query.job = id;
  query.limit = 1'000'000;
  std::vector<scheduler::RecordStep> steps;
  for (const nlohmann::json& json : store_->query(query).steps) {
    Result<scheduler::RecordStep> step = scheduler::parse_record_step(json);
    SIDESTEP_ASSERT(step.ok());
    steps.push_back(std::move(step).value());
  }
  return steps;
}

std::optional<std::size_t> SimCluster::find_node(const NodeKey& key) const {
  const auto it = numbers_.find(key);
  return it == numbers_.end() ? std::nullopt : std::optional(it->second);
}

std::size_t SimCluster::node_of(const NodeKey& key) const {
  const std::optional<std::size_t> node = find_node(key);
  SIDESTEP_ASSERT(node.has_value());
  return *node;
}

std::vector<std::string> SimCluster::violations() const {
  std::vector<std::string> all = violations_;
  for (const Node& node : nodes_) {
    for (const std::string& violation : node.fake->violations)
      all.push_back(node.nickname + ": " + violation);
  }
  return all;
}

void SimCluster::write_trace(const std::string& line) {
  if (options_.trace) trace_ += line + "\n";
}

void SimCluster::note(const std::string& who, const net::LogLine& line) {
  observer_.on_line(now_us(), who, line);
  lines_.push_back(std::to_string(now_us()) + " " + who + " log " +
                   std::to_string(static_cast<int>(line.level)) + " " + line.text);
  write_trace(lines_.back());
  if (lines_.size() > 2 * last_lines_max) lines_.erase(lines_.begin(), lines_.begin() + last_lines_max);
}

std::string SimCluster::last_lines() const {
  std::string text;
  const std::size_t first = lines_.size() > last_lines_max ? lines_.size() - last_lines_max : 0;
  for (std::size_t i = first; i < lines_.size(); ++i) text += lines_[i] + "\n";
  return text;
}

std::string SimCluster::name_of(const NodeKey& key) const {
  if (key == scheduler_key_) return "scheduler";
  if (key == operator_key_) return "operator";
  return nodes_[node_of(key)].nickname;
}

}  // namespace sidestep::sim
