#include "daemon/driver/scheduler_driver.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

#include "daemon/driver/advertise.h"
#include "daemon/driver/event_loop.h"
#include "daemon/driver/health.h"
#include "daemon/driver/local_log.h"
#include "daemon/driver/plan_machine.h"
#include "net/clock.h"
#include "net/zmq_bus.h"
#include "scheduler/scheduler_core.h"
#include "scheduler/sqlite_store.h"

namespace sidestep::driver {
namespace {

constexpr std::int64_t tick_us = 20 * net::ms;
constexpr std::int64_t linger_us = 200 * net::ms;
constexpr std::uint64_t no_planning = 0;

class SchedulerDriver {
 public:
  SchedulerDriver(const SchedulerConfig& config, const net::KeyPair& key)
      : config_(config),
        key_(key),
        loop_(
            tick_us, [this] { on_tick(); }, [this](int signal) { on_signal(signal); }) {}

  ~SchedulerDriver() {
    wanted_planning_ = no_planning;
    planner_.join();
    if (!endpoint_path_.empty()) std::remove(endpoint_path_.c_str());
  }

  Status run() {
    auto log = LocalLog::open(config_.log);
    if (!log.ok()) return log.status();
    log_ = std::move(log).value();
    if (Status status = start(); !status.ok()) {
      // The caller says it on standard error.
      if (!config_.log.standard_error) log_->write(net::LogLevel::error, status.message());
      return status;
    }
    loop_.handle([this] { event([&](auto now, auto& out) { core_->on_start(now, out); }); });
    loop_.run();
    return result_;
  }

 private:
  Status start() {
    std::error_code problem;
    std::filesystem::create_directories(config_.data_dir, problem);
    if (problem) return Status::io(config_.data_dir + ": cannot be made: " + problem.message());
    // The port first: whoever holds it may also hold the store.
    if (Status status = open_bus(); !status.ok()) return status;
    scheduler::SqliteStoreOptions store_options;
    store_options.folder = config_.data_dir;
    store_options.log_bytes_max = static_cast<std::uint64_t>(config_.job_log_bytes_max);
    store_options.log_age_us_max = config_.job_log_days_max * 24 * 3600 * net::second;
    auto store = scheduler::SqliteStore::open(store_options);
    if (!store.ok()) return store.status();
    store_ = std::move(store).value();
    auto saved = store_->open_term();
    if (!saved.ok()) return saved.status();
    core_ = std::make_unique<scheduler::SchedulerCore>(scheduler_options(), std::move(saved).value());
    log_->write(net::LogLevel::info, "scheduler listens at " + bus_->bound_address(net::Channel::control) +
                                         ", public key " + key_.public_key.hex());
    if (Status status = health_.open(config_.data_dir); !status.ok()) return status;
    return publish_endpoint();
  }

  void on_tick() {
    event([&](auto now, auto& out) { core_->on_tick(now, out); });
    if (const std::int64_t now = net::monotonic_us(); health_.due(now))
      health_.beat(now, net::wall_us(), "scheduler at " + bus_->bound_address(net::Channel::control));
  }

  Status open_bus() {
    net::ZmqBusOptions options;
    options.keys = key_;
    options.control_bind = config_.bind;
    auto bus = net::ZmqBus::create(loop_.io(), options);
    if (!bus.ok()) return bus.status();
    bus_ = std::move(bus).value();
    bus_->set_handlers({
        [this](const net::NodeKey& peer, net::Channel, net::Envelope envelope) {
          loop_.handle([this, peer, message = std::move(envelope)] {
            event([&](auto now, auto& out) { core_->on_message(now, peer, message, out); });
          });
        },
        [this](const net::NodeKey& peer, net::Channel) {
          loop_.handle(
              [this, peer] { event([&](auto now, auto& out) { core_->on_disconnect(now, peer, out); }); });
        },
        [this](const std::string& what) {
          loop_.handle([this, what] {
            event([&](auto now, auto& out) { core_->on_note(now, net::LogLevel::warning, what, out); });
          });
        },
    });
    return {};
  }

  scheduler::SchedulerOptions scheduler_options() const {
    scheduler::SchedulerOptions options;
    options.key = key_.public_key;
    options.boot = net::random_boot_id();
    for (const std::string& key : config_.nodes) options.nodes.insert(net::NodeKey::from_hex(key).value());
    for (const std::string& key : config_.operators)
      options.operators.insert(net::NodeKey::from_hex(key).value());
    options.advertise = advertised_address(config_.advertise, bus_->bound_address(net::Channel::control));
    if (is_anywhere(options.advertise)) options.advertise.clear();
    options.heartbeat_us = config_.heartbeat_ms * net::ms;
    options.closed_dead_us = config_.closed_dead_ms * net::ms;
    options.silent_dead_us = config_.silent_dead_ms * net::ms;
    options.prepare_limit_us = config_.prepare_limit_ms * net::ms;
    options.plan_work = static_cast<std::uint64_t>(config_.planning_work);
    options.wall_offset_us = net::wall_us() - net::monotonic_us();
    return options;
  }

  // Whole or not at all: `sidestep up` waits for this file.
  Status publish_endpoint() {
    const std::string path = config_.data_dir + "/" + endpoint_file;
    const std::string unfinished = path + ".new";
    std::ofstream file(unfinished, std::ios::trunc);
    file << bus_->bound_address(net::Channel::control) << "\n";
    file.close();
    if (!file || std::rename(unfinished.c_str(), path.c_str()) != 0)
      return Status::io(path + ": cannot be written");
    endpoint_path_ = path;
    return {};
  }

  template <class CoreCall>
  void event(CoreCall call) {
    scheduler::SchedulerOutbox out;
    call(net::monotonic_us(), out);
    for (scheduler::SchedulerAction& action : out) {
      if (loop_.finished()) return;  // what was not stored must not be told
      std::visit([this](auto& chosen) { act(chosen); }, action);
    }
  }

  void act(net::Send& send) {
    if (send.only_boot)
      bus_->send_to_boot(send.peer, *send.only_boot, send.channel, send.envelope);
    else
      bus_->send(send.peer, send.channel, send.envelope);
  }
  void act(scheduler::Persist& persist) {
    const Status status = store_->apply(persist.change);
    if (status.ok()) return;
    // Going on would promise what a restart forgets.
    log_->write(net::LogLevel::error, "scheduler stops: " + status.message());
    result_ = status;
    loop_.finish(0);
  }
  void act(scheduler::StartQuery& query) {
    loop_.handle([this, id = query.id, rows = store_->query(query.query)] {
      event([&](auto now, auto& out) { core_->on_query_result(now, id, rows, out); });
    });
  }
  void act(scheduler::StartPlanning& planning) {
    wanted_planning_ = planning.id;
    boost::asio::post(planner_, [this, id = planning.id, request = std::move(planning.request)] {
      auto plan = scheduler::place(request, machine_of(id));
      loop_.post_from_thread([this, id, plan = std::move(plan)] {
        event([&](auto now, auto& out) { core_->on_plan(now, id, plan, out); });
      });
    });
  }
  // A plan that nobody waits for any more, as another was asked for or the program ends, is made in no time.
  scheduler::PlanMachine machine_of(std::uint64_t planning) const {
    scheduler::PlanMachine machine = plan_machine(planning_threads());
    machine.stop = [this, planning] { return wanted_planning_ != planning; };
    return machine;
  }
  // A core is left to whatever else the machine does: heartbeats, and in a local swarm the daemons.
  std::size_t planning_threads() const {
    if (config_.planning_threads > 0) return static_cast<std::size_t>(config_.planning_threads);
    return std::max(2u, std::thread::hardware_concurrency()) - 1;
  }
  void act(scheduler::WriteLog& log) { log_->write(log.line); }
  void act(scheduler::SetAdmitted& set) {
    if (set.admitted)
      bus_->add_peer(set.key, net::Channel::control, "");
    else
      bus_->remove_peer(set.key, net::Channel::control);
  }

  void on_signal(int signal) {
    log_->write(net::LogLevel::info,
                std::string("scheduler stops: ") + (signal == SIGINT ? "SIGINT" : "SIGTERM"));
    loop_.finish(linger_us);
  }

  SchedulerConfig config_;
  net::KeyPair key_;
  EventLoop loop_;
  std::unique_ptr<LocalLog> log_;
  std::unique_ptr<net::ZmqBus> bus_;
  std::unique_ptr<scheduler::Store> store_;
  std::unique_ptr<scheduler::SchedulerCore> core_;
  std::atomic<std::uint64_t> wanted_planning_{no_planning};  // the planner's thread reads it
  boost::asio::thread_pool planner_{1};
  std::string endpoint_path_;
  HealthFile health_;
  Status result_;
};

}  // namespace

Status run_scheduler(const SchedulerConfig& config, const net::KeyPair& key) {
  return SchedulerDriver(config, key).run();
}

}  // namespace sidestep::driver
