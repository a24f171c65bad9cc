// How a job, the slice server and the preparation reach the rest of their node.
#include "daemon/core/node_state.h"

namespace sidestep::daemon {

using net::Channel;
using net::NodeKey;

JobRun::Ports NodeCore::State::ports() {
  JobRun::Ports ports;
  ports.post_data = [this](std::int64_t now, const NodeKey& to, net::Message message) {
    // It was declared dead, or this node has not heard of it yet.
    const net::Scope* scope = scope_of(message);
    if (scope && scope->view < membership.view().number && !is_member(to)) return;
    std::vector<net::Send> sends;
    data.post(now, to, Channel::data, std::move(message), sends);
    send_all(std::move(sends));
  };
  ports.send_data = [this](const NodeKey& to, net::Message message) {
    std::vector<net::Send> sends;
    data.send_once(to, Channel::data, std::move(message), sends);
    send_all(std::move(sends));
  };
  ports.post_scheduler = [this](std::int64_t now, net::Message message) {
    post_scheduler(now, std::move(message));
  };
  ports.drop_posted = [this](const auto& out_of_date) { data.drop_if(out_of_date); };
  ports.queue_task = [this](Task task, TaskDesk::Done done) {
    desk.queue(std::move(task), std::move(done), *out);
  };
  ports.has_posted = [this] { return data.waiting() > 0; };
  ports.desk_free = [this] { return desk.free(); };
  ports.abandon_step = [this] {
    desk.abandon_step();
    slices.forget();
  };
  ports.log = [this](std::int64_t now, net::LogLevel level, std::optional<std::uint32_t> stage,
                     std::string text) { log(now, level, stage, std::move(text)); };
  ports.times.tell_scheduler = [this](net::Message message) {
    std::vector<net::Send> sends;
    control.send_once(options.scheduler, Channel::control, std::move(message), sends);
    send_all(std::move(sends));
  };
  ports.times.links = [this] { return links.links(); };
  return ports;
}

SliceServer::Ports NodeCore::State::slice_ports() {
  SliceServer::Ports ports;
  ports.queue_task = [this](Task task, TaskDesk::Done done) {
    desk.queue(std::move(task), std::move(done), *out);
  };
  ports.find = [this](const net::SliceRequest& request) {
    return run ? run->read_state(request) : std::nullopt;
  };
  ports.send = [this](const NodeKey& peer, net::BootId boot, net::Message message) {
    std::vector<net::Send> sends;
    data.send_once(peer, Channel::data, std::move(message), sends, boot);
    send_all(std::move(sends));
  };
  return ports;
}

Preparation::Ports NodeCore::State::preparation_ports() {
  Preparation::Ports ports;
  ports.queue_task = [this](Task task, TaskDesk::Done done) {
    desk.queue(std::move(task), std::move(done), *out);
  };
  ports.send_probe = [this](const NodeKey& peer, const net::Probe& probe) {
    std::vector<net::Send> sends;
    data.send_once(peer, Channel::data, probe, sends);
    send_all(std::move(sends));
  };
  ports.post_scheduler = [this](std::int64_t now, net::Message message) {
    post_scheduler(now, std::move(message));
  };
  ports.links_probed = [this](const std::vector<net::LinkSpeed>& probed) { links.probed(probed); };
  return ports;
}

}  // namespace sidestep::daemon
