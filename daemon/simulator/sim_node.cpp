// The nodes' side of SimCluster: their life, and what their cores ask for.
#include <algorithm>

#include "daemon/simulator/sim_cluster.h"

namespace sidestep::sim {

using daemon::NodeOutbox;
using net::Channel;
using net::NodeKey;

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
  node.runner = options_.runner ? options_.runner(index) : std::make_unique<FakeRunner>(fake, node.fake);

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
             if (!runs(index, boot)) return;
             if (!nodes_[index].paused) return take(index, peer, channel, envelope);
             // Large ones are worth a copy only here.
             when_awake(index, boot, [=, this] { take(index, peer, channel, envelope); });
           },
       .on_disconnect = {},
       .on_dropped =
           [this, index](const std::string& what) {
             write_trace(std::to_string(now_us()) + " " + nodes_[index].nickname + " dropped " + what);
           }});
  observer_.on_started(now_us(), index);
  NodeOutbox out;
  node.core->on_start(now_us(), out);
  perform(index, std::move(out));
  tick_node(index, boot);
}

void SimCluster::take(std::size_t index, const NodeKey& peer, Channel channel,
                      const net::Envelope& envelope) {
  NodeOutbox out;
  nodes_[index].core->on_message(now_us(), peer, channel, envelope, out);
  perform(index, std::move(out));
}

void SimCluster::tick_node(std::size_t index, net::BootId boot) {
  if (!runs(index, boot)) return;
  if (!nodes_[index].paused) {
    NodeOutbox out;
    nodes_[index].core->on_tick(now_us(), out);
    perform(index, std::move(out));
  }
  after(random_.between(options_.tick_us_min, options_.tick_us_max),
        [this, index, boot] { tick_node(index, boot); });
}

void SimCluster::kill(std::size_t index, bool machine_too) {
  Node& node = nodes_[index];
  if (machine_too) network_.isolate(node.key);
  node.bus.reset();
  node.core.reset();
  node.runner.reset();
  node.stalled.clear();
  observer_.on_ended(now_us(), index);
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
  observer_.on_paused(now_us(), index);
  after(duration_us, [this, index, boot = nodes_[index].boot] {
    if (!runs(index, boot)) return;
    nodes_[index].paused = false;
    observer_.on_resumed(now_us(), index);
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
  observer_.on_task_begun(now_us(), index, start.task);
  daemon::Completion done = node.runner->run(start.id, start.task);
  write_trace(std::to_string(now_us()) + " " + node.nickname + " begins task " + std::to_string(start.id) +
              " kind " + std::to_string(start.task.index()));
  after(done.duration_us, [this, index, boot = node.boot, done = std::move(done)]() mutable {
    when_awake(index, boot, [this, index, done = std::move(done)]() mutable {
      nodes_[index].busy = false;
      observer_.on_task_ended(now_us(), index);
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

}  // namespace sidestep::sim
