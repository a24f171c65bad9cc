#include "daemon/simulator/sim_cluster.h"

#include <algorithm>
#include <cstring>

#include "net/clock.h"
#include "net/codec.h"
#include "scheduler/memory_store.h"

namespace sidestep::sim {

using daemon::NodeOutbox;
using net::Channel;
using net::NodeKey;
using net::SimPacket;
using scheduler::SchedulerOutbox;

namespace {

constexpr std::size_t last_lines_max = 60;

NodeKey draw_key(net::Random& random) {
  NodeKey key;
  for (std::uint8_t& byte : key.bytes) byte = static_cast<std::uint8_t>(random.next());
  return key;
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
      random_(options_.seed),
      network_({.seed = random_.next(), .link = options_.link}),
      scheduler_key_(draw_key(random_)),
      store_(std::make_unique<scheduler::MemoryStore>()),
      operator_key_(draw_key(random_)) {
  for (std::size_t i = 0; i < options_.nodes; ++i) {
    Node& node = nodes_.emplace_back();
    node.key = draw_key(random_);
    node.nickname = "node-" + std::to_string(i + 1);
    if (i < options_.speeds.size()) node.speed = options_.speeds[i];
  }
  if (!options_.trace) return;
  network_.set_observer([this](std::int64_t now_us, const SimPacket& packet) {
    write_trace(std::to_string(now_us) + " " + name_of(packet.from) + " -> " + name_of(packet.to) +
                (packet.channel == Channel::data ? " data " : " control ") +
                std::string(net::name_of(packet.envelope.message)) + " " +
                std::to_string(packet.envelope.id) + " " +
                std::to_string(hash_of(net::encode(packet.envelope))));
  });
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

void SimCluster::start_node(std::size_t index) {
  Node& node = nodes_[index];
  node.boot = next_boot_++;
  node.stopped.reset();
  node.busy = false;
  node.peers.clear();
  node.paused = false;
  node.stalled.clear();
  network_.rejoin(node.key);
  FakeOptions fake = options_.fake;
  fake.seed = random_.next();
  fake.speed = node.speed;
  fake.has_data = index + options_.nodes_without_data < nodes_.size();
  node.runner = options_.runner ? options_.runner() : std::make_unique<FakeRunner>(fake, node.fake);

  daemon::NodeOptions options;
  options.key = node.key;
  options.boot = node.boot;
  options.scheduler = scheduler_key_;
  options.nickname = node.nickname;
  options.data_address = node.nickname + ":7001";
  options.resources = {std::uint64_t{1} << 40, 1, "cpu", "sim"};
  options.wall_offset_us =
      wall_offset_us + (index < options_.clocks_off_us.size() ? options_.clocks_off_us[index] : 0);
  options.chunk_bytes = options_.chunk_bytes;
  options.slot_deadline_us = options_.slot_deadline_us;
  node.core = std::make_unique<daemon::NodeCore>(options);

  node.bus = network_.create_bus(node.key, node.boot);
  node.bus->add_peer(scheduler_key_, Channel::control, "scheduler:7000");
  const net::BootId boot = node.boot;
  node.bus->set_handlers(
      {.on_message =
           [this, index, boot](const NodeKey& peer, Channel channel, const net::Envelope& envelope) {
             when_awake(index, boot, [this, index, peer, channel, envelope] {
               NodeOutbox out;
               nodes_[index].core->on_message(now_us(), peer, channel, envelope, out);
               perform(index, std::move(out));
             });
           },
       .on_disconnect = {},
       .on_dropped =
           [this, index](const std::string& what) {
             write_trace(std::to_string(now_us()) + " " + nodes_[index].nickname + " dropped " + what);
           }});
  NodeOutbox out;
  node.core->on_start(now_us(), out);
  perform(index, std::move(out));
  tick_node(index, boot);
}

void SimCluster::tick_node(std::size_t index, net::BootId boot) {
  if (!runs(index, boot)) return;
  if (!nodes_[index].paused) {
    NodeOutbox out;
    nodes_[index].core->on_tick(now_us(), out);
    perform(index, std::move(out));
  }
  after(random_.between(tick_us_min, tick_us_max), [this, index, boot] { tick_node(index, boot); });
}

void SimCluster::kill(std::size_t index, bool machine_too) {
  Node& node = nodes_[index];
  if (machine_too) network_.isolate(node.key);
  node.bus.reset();
  node.core.reset();
  node.runner.reset();
  node.stalled.clear();
  write_trace(std::to_string(now_us()) + " " + node.nickname + " is killed");
}

void SimCluster::when_awake(std::size_t index, net::BootId boot, std::function<void()> what) {
  if (!runs(index, boot)) return;
  if (!nodes_[index].paused) return what();
  nodes_[index].stalled.push_back([this, index, boot, what = std::move(what)] {
    if (runs(index, boot)) what();
  });
}

void SimCluster::pause(std::size_t index, std::int64_t duration_us) {
  nodes_[index].paused = true;
  after(duration_us, [this, index, boot = nodes_[index].boot] {
    if (!runs(index, boot)) return;
    nodes_[index].paused = false;
    for (const auto& what : std::exchange(nodes_[index].stalled, {})) what();
  });
}

void SimCluster::stop(std::size_t index, const std::string& reason, std::int64_t grace_us) {
  NodeOutbox out;
  nodes_[index].core->on_stop(now_us(), reason, grace_us, out);
  perform(index, std::move(out));
}

void SimCluster::perform(std::size_t index, NodeOutbox out) {
  for (const daemon::NodeAction& action : out) {
    std::visit([&](const auto& kind) { perform(index, kind); }, action);
  }
  if (nodes_[index].core) nodes_[index].core->check_invariants();
}

void SimCluster::perform(std::size_t index, const net::Send& send) {
  net::SimBus& bus = *nodes_[index].bus;
  if (send.only_boot) {
    bus.send_to_boot(send.peer, *send.only_boot, send.channel, send.envelope);
  } else {
    bus.send(send.peer, send.channel, send.envelope);
  }
}

void SimCluster::perform(std::size_t index, const daemon::StartTask& start) {
  Node& node = nodes_[index];
  if (node.busy) violations_.push_back(node.nickname + ": a task begins while another runs");
  node.busy = true;
  daemon::Completion done = node.runner->run(start.id, start.task);
  write_trace(std::to_string(now_us()) + " " + node.nickname + " begins task " + std::to_string(start.id) +
              " kind " + std::to_string(start.task.index()));
  after(done.duration_us, [this, index, boot = node.boot, done = std::move(done)]() mutable {
    when_awake(index, boot, [this, index, done = std::move(done)]() mutable {
      nodes_[index].busy = false;
      write_trace(std::to_string(now_us()) + " " + nodes_[index].nickname + " ends task " +
                  std::to_string(done.id));
      NodeOutbox out;
      nodes_[index].core->on_completion(now_us(), done, out);
      done = {};  // what the core did not keep is freed before anything else happens
      perform(index, std::move(out));
    });
  });
}

void SimCluster::perform(std::size_t index, const daemon::SetPeers& peers) {
  Node& node = nodes_[index];
  const std::vector<NodeKey> before = std::exchange(node.peers, {});
  for (const net::Member& member : peers.members) {
    if (member.key == node.key) continue;
    node.peers.push_back(member.key);
    node.bus->add_peer(member.key, Channel::data, member.data_address);
  }
  for (const net::Guest& guest : peers.guests) {
    if (std::ranges::find(node.peers, guest.key) != node.peers.end()) continue;
    node.peers.push_back(guest.key);
    node.bus->add_peer(guest.key, Channel::data, guest.data_address);
  }
  for (const NodeKey& old : before) {
    if (std::ranges::find(node.peers, old) == node.peers.end()) node.bus->remove_peer(old, Channel::data);
  }
}

void SimCluster::perform(std::size_t index, const daemon::WriteLog& log) {
  note(nodes_[index].nickname, log.line);
}

// The process ends between two events, not while its core is on the stack.
void SimCluster::perform(std::size_t index, const daemon::Stop& stop) {
  nodes_[index].stopped = stop;
  after(0, [this, index, boot = nodes_[index].boot] {
    if (runs(index, boot)) kill(index);
  });
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

std::size_t SimCluster::node_of(const NodeKey& key) const {
  const auto it = std::ranges::find(nodes_, key, &Node::key);
  SIDESTEP_ASSERT(it != nodes_.end());
  return static_cast<std::size_t>(it - nodes_.begin());
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
