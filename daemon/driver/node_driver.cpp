#include "daemon/driver/node_driver.h"

#include <csignal>

#include <map>

#include "daemon/core/node_core.h"
#include "daemon/driver/advertise.h"
#include "daemon/driver/emulation.h"
#include "daemon/driver/event_loop.h"
#include "daemon/driver/health.h"
#include "daemon/driver/joiner.h"
#include "daemon/driver/link_status.h"
#include "daemon/driver/spot_watch.h"
#include "net/clock.h"
#include "net/zmq_bus.h"

namespace sidestep::driver {
namespace {

constexpr std::int64_t tick_us = 20 * net::ms;
constexpr std::int64_t linger_us = 200 * net::ms;
constexpr std::int64_t end_takes_us = 2 * net::second;
constexpr std::int64_t first_complaint_us = 2 * net::second;
constexpr std::int64_t complaint_wait_us_max = 60 * net::second;
constexpr std::int64_t out_of_touch_us = 5 * net::second;

class NodeDriver {
 public:
  NodeDriver(const NodeConfig& config, const net::KeyPair& key)
      : config_(config),
        key_(key),
        scheduler_(net::NodeKey::from_hex(config.scheduler.public_key).value()),
        loop_(
            tick_us, [this] { on_tick(); }, [this](int signal) { on_signal(signal); }) {}

  Status run(const TaskThreadFactory& task_thread) {
    auto log = LocalLog::open(config_.log);
    if (!log.ok()) return log.status();
    log_ = std::move(log).value();
    const net::BootId boot = net::random_boot_id();
    Status status = open_bus();
    if (status.ok()) status = start_tasks(task_thread);
    if (!status.ok()) {
      // The caller says it on standard error.
      if (!config_.log.standard_error) log_->write(net::LogLevel::error, status.message());
      return status;
    }
    core_ = std::make_unique<daemon::NodeCore>(node_options(boot));
    if (emulation_) log_->write(net::LogLevel::warning, "emulates " + config_.emulate.text());
    if (status = health_.open(config_.data_dir); !status.ok())
      log_->write(net::LogLevel::warning, status.message());
    bus_->add_peer(scheduler_, net::Channel::control, config_.scheduler.address);
    loop_.handle([this] { event([&](auto now, auto& out) { core_->on_start(now, out); }); });
    complain_at_us_ = net::monotonic_us() + first_complaint_us;
    watch_spot();
    loop_.run();
    tasks_.reset();  // before the core that its completions would reach
    return result_;
  }

 private:
  Status open_bus() {
    net::ZmqBusOptions options;
    options.keys = key_;
    options.data_bind = config_.bind;
    options.limits.tensor_bytes_max = static_cast<std::size_t>(config_.message_bytes_max);
    auto bus = net::ZmqBus::create(loop_.io(), options);
    if (!bus.ok()) return bus.status();
    bus_ = std::move(bus).value();
    if (config_.emulate.asked())
      emulation_ = std::make_unique<Emulation>(loop_.io(), *bus_, config_.emulate, config_.nickname);
    advertised_ = advertised_address(config_.advertise, bus_->bound_address(net::Channel::data));
    bus_->set_handlers({
        [this](const net::NodeKey& peer, net::Channel channel, net::Envelope envelope) {
          if (peer == scheduler_) heard_us_ = net::monotonic_us();
          loop_.handle([this, peer, channel, message = std::move(envelope)] {
            event([&](auto now, auto& out) { core_->on_message(now, peer, channel, message, out); });
          });
        },
        [](const net::NodeKey&, net::Channel) {},  // the scheduler alone judges who is gone
        [this](const std::string& what) { note(net::LogLevel::warning, what); },
    });
    return {};
  }

  Status start_tasks(const TaskThreadFactory& task_thread) {
    auto tasks = task_thread(
        {static_cast<int>(config_.threads), config_.device, static_cast<std::uint64_t>(config_.memory_bytes),
         config_.data_dir + "/snapshots", config_.snapshots_kept},
        [this](daemon::Completion completion) {
          loop_.post_from_thread([this, done = std::move(completion)] { on_task_end(done); });
        });
    if (!tasks.ok()) return tasks.status();
    tasks_ = std::move(tasks).value();
    return {};
  }

  daemon::NodeOptions node_options(net::BootId boot) const {
    daemon::NodeOptions options;
    options.key = key_.public_key;
    options.boot = boot;
    options.scheduler = scheduler_;
    options.nickname = config_.nickname;
    options.data_address = advertised_;
    options.resources = {tasks_->memory_bytes(), static_cast<std::uint32_t>(config_.threads), config_.device,
                         tasks_->device_class()};
    options.wall_offset_us = net::wall_us() - net::monotonic_us();
    return options;
  }

  // As the core sees it; what concerns the socket itself is asked of bus_.
  net::Bus& bus() { return emulation_ ? emulation_->bus() : *bus_; }

  // Gives the core one event, then does what it asks for.
  template <class CoreCall>
  void event(CoreCall call) {
    daemon::NodeOutbox out;
    call(net::monotonic_us(), out);
    for (daemon::NodeAction& action : out) std::visit([this](auto& chosen) { act(chosen); }, action);
  }

  void act(net::Send& send) {
    if (send.only_boot)
      bus().send_to_boot(send.peer, *send.only_boot, send.channel, send.envelope);
    else
      bus().send(send.peer, send.channel, send.envelope);
  }
  void act(daemon::StartTask& task) {
    if (emulation_) emulation_->on_start(task.task);
    tasks_->start(task.id, std::move(task.task));
  }
  void act(daemon::WriteLog& log) { log_->write(log.line); }
  void act(daemon::Stop& stop) {
    if (stop.at_once) std::raise(SIGKILL);
    if (stop.status != 0) result_ = Status::refused(stop.reason);
    loop_.finish(linger_us);
  }
  void act(daemon::SetPeers& peers) {
    std::map<net::NodeKey, net::Member> wanted;
    for (const net::Guest& guest : peers.guests) wanted[guest.key] = {guest.key, 0, "", guest.data_address};
    for (const net::Member& member : peers.members)
      if (member.key != key_.public_key) wanted[member.key] = member;
    for (const auto& [known, member] : peers_)
      // Another boot has another socket behind it, even at the same address.
      if (const auto kept = wanted.find(known); kept == wanted.end() || kept->second != member)
        bus().remove_peer(known, net::Channel::data);
    for (const auto& [key, member] : wanted)
      if (const auto known = peers_.find(key); known == peers_.end() || known->second != member) {
        if (emulation_) emulation_->meet(key, member.nickname);
        bus().add_peer(key, net::Channel::data, member.data_address);
      }
    peers_ = std::move(wanted);
  }

  void on_tick() {
    event([&](auto now, auto& out) { core_->on_tick(now, out); });
    const net::LinkReport link = bus_->link_report(scheduler_, net::Channel::control);
    const bool is_stranger = link.state == net::LinkState::handshake_failed_auth;
    if (is_stranger && config_.scheduler.invite) use_invite();
    if (heard_us_ == 0 || is_stranger) complain_about_scheduler(link);
    if (const std::int64_t now = net::monotonic_us(); health_.due(now))
      health_.beat(now, net::wall_us(), config_.nickname + ": " + standing(now));
  }

  std::string standing(std::int64_t now_us) const {
    if (heard_us_ == 0) return "waiting for the scheduler at " + config_.scheduler.address;
    const std::int64_t silent_us = now_us - heard_us_;
    if (silent_us <= out_of_touch_us) return "in touch with the scheduler at " + config_.scheduler.address;
    return "the scheduler at " + config_.scheduler.address + " has been silent for " +
           std::to_string(silent_us / net::second) + " s";
  }

  void on_task_end(const daemon::Completion& completion) {
    if (!emulation_) return on_completion(completion);
    emulation_->on_completion(completion, [this](const daemon::Completion& done) {
      loop_.handle([this, done] { on_completion(done); });
    });
  }

  void on_completion(const daemon::Completion& completion) {
    event([&](auto now, auto& out) { core_->on_completion(now, completion, out); });
  }

  void on_signal(int signal) {
    if (signal == SIGINT)
      leave("SIGINT", 0);
    else
      leave("SIGTERM", config_.drain_ms * net::ms);
  }

  // Whoever ends this node while it is well comes here: a person, or the cloud that takes the machine back.
  void leave(const std::string& why, std::int64_t grace_us) {
    event([&](auto now, auto& out) { core_->on_stop(now, why, grace_us, out); });
  }

  // What is left until the machine goes, less what the end itself takes.
  std::int64_t grace_us(const SpotNotice& notice) const {
    if (!notice.deadline_us) return config_.drain_ms * net::ms;
    return std::max<std::int64_t>(0, *notice.deadline_us - net::wall_us() - end_takes_us);
  }

  void watch_spot() {
    if (!config_.spot.is_watched()) return;
    spot_ = std::make_unique<SpotWatch>(
        loop_.io(), spot_watch_options(config_.spot),
        SpotWatch::Handlers{
            [this](net::LogLevel level, const std::string& text) { note(level, text); },
            [this](const SpotNotice& notice) {
              const std::string text = describe(notice, net::wall_us());
              if (notice.kind == SpotNotice::Kind::end)
                loop_.handle([this, text, grace = grace_us(notice)] { leave(text, grace); });
              else
                note(net::LogLevel::warning, text);
            },
        });
  }

  void note(net::LogLevel level, const std::string& text) {
    loop_.handle(
        [this, level, text] { event([&](auto now, auto& out) { core_->on_note(now, level, text, out); }); });
  }

  // The scheduler does not know our key: an invite is there for that. It does no harm to use it again: a run
  // before this one may have, without hearing the answer.
  void use_invite() {
    const std::int64_t now = net::monotonic_us();
    if (!joiner_) {
      if (joined_) return;  // let in; our link is about to notice
      note(net::LogLevel::info, "the scheduler at " + config_.scheduler.address + " does not know our key " +
                                    key_.public_key.hex() + ": joins by the invite");
      auto joiner = Joiner::create(loop_.io(), {*config_.scheduler.invite, config_.scheduler.address,
                                                key_.public_key, config_.nickname});
      if (!joiner.ok()) return stop(joiner.status());
      joiner_ = std::move(joiner).value();
    }
    joiner_->on_tick(now);
    if (!joiner_->result()) return;
    const Status result = *joiner_->result();
    joiner_.reset();
    if (!result.ok()) return stop(result);
    joined_ = true;
    note(net::LogLevel::info, "let in by the invite");
  }

  void stop(const Status& why) {
    // The caller says it on standard error.
    if (!config_.log.standard_error) log_->write(net::LogLevel::error, why.message());
    result_ = why;
    loop_.finish(0);
  }

  // The scheduler has never answered, or does not let us in: says what is known about that, ever less often.
  void complain_about_scheduler(const net::LinkReport& link) {
    const std::int64_t now = net::monotonic_us();
    if (now < complain_at_us_) return;
    const Status problem =
        joiner_ ? joiner_->standing() : explain(link, config_.scheduler.address, key_.public_key);
    note(net::LogLevel::warning, problem.message() + "; still trying");
    complain_at_us_ = now + complaint_wait_us_;
    complaint_wait_us_ = std::min(2 * complaint_wait_us_, complaint_wait_us_max);
  }

  NodeConfig config_;
  net::KeyPair key_;
  net::NodeKey scheduler_;
  EventLoop loop_;
  std::unique_ptr<LocalLog> log_;
  std::unique_ptr<net::ZmqBus> bus_;
  std::unique_ptr<Emulation> emulation_;  // of another node; none: we are what we are
  std::unique_ptr<daemon::NodeCore> core_;
  std::unique_ptr<TaskThread> tasks_;
  std::map<net::NodeKey, net::Member> peers_;  // data peers, as the core set them last
  std::string advertised_;
  Status result_;
  std::int64_t heard_us_ = 0;       // from the scheduler, last; 0: never
  std::unique_ptr<Joiner> joiner_;  // while an invite is being used
  bool joined_ = false;
  HealthFile health_;
  std::unique_ptr<SpotWatch> spot_;  // where the config names a cloud
  std::int64_t complain_at_us_ = 0;
  std::int64_t complaint_wait_us_ = first_complaint_us;
};

}  // namespace

Status run_node(const NodeConfig& config, const net::KeyPair& key, const TaskThreadFactory& task_thread) {
  return NodeDriver(config, key).run(task_thread);
}

}  // namespace sidestep::driver
