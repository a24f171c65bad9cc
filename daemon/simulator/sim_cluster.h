// A whole swarm in one thread and in virtual time: one real SchedulerCore, real NodeCores, one operator, a
// SimNetwork between them, and runners that take drawn times. Everything comes from one seed; the same seed
// gives the same trace, byte for byte. Scenario tests are written in the words of its public part.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/core/node_core.h"
#include "daemon/core/task_runner.h"
#include "daemon/simulator/fake_runner.h"
#include "daemon/simulator/sim_observer.h"
#include "net/random.h"
#include "net/sim_bus.h"
#include "scheduler/record.h"
#include "scheduler/scheduler_core.h"
#include "scheduler/store.h"

namespace sidestep::sim {

inline constexpr std::int64_t wall_offset_us = 1'700'000'000'000'000;
struct SimOptions {
  std::uint64_t seed = 1;
  std::size_t nodes = 6;
  net::SimLinkOptions link;  // of every link, with its faults
  // Instead: from one to another, each a node's number, or nothing where it is the scheduler or the operator.
  std::function<net::SimLinkOptions(std::optional<std::size_t> from, std::optional<std::size_t> to)> link_of;
  // Between two ticks of a core, drawn each time; at most 50 ms.
  std::int64_t tick_us_min = 20'000;
  std::int64_t tick_us_max = 50'000;
  std::vector<std::int64_t> clocks_off_us;  // of nodes' wall clocks; those beyond the list: 0
  std::vector<double> speeds;               // of nodes; those beyond the list: 1
  std::size_t nodes_without_data = 0;       // the last ones
  std::size_t nodes_later = 0;              // the last ones do not begin with start()
  std::int64_t chunk_bytes = 12;            // of in-stage averaging
  std::int64_t slot_deadline_us = 500'000;
  FakeOptions fake;
  bool trace = false;
  bool through_codec = true;         // of all messages; else only of those that hold lists or JSON
  bool keep_history = true;          // of the run record and the log; the scheduler itself needs neither
  SimObserver* observer = nullptr;   // must outlive the cluster
  std::uint64_t plan_work = 20'000;  // SchedulerOptions::plan_work
  // How long a planning takes; without it, some milliseconds, drawn.
  std::function<std::int64_t(const scheduler::PlacementRequest&)> planning_us;
  // Instead of the scheduler's own placement.
  std::function<Result<scheduler::Plan>(const scheduler::PlacementRequest&)> planner;
  // Instead of a FakeRunner: of the node of that number.
  std::function<std::unique_ptr<daemon::TaskRunner>(std::size_t node)> runner;
};

class SimCluster {
 public:
  explicit SimCluster(SimOptions options);
  ~SimCluster();
  SimCluster(const SimCluster&) = delete;
  SimCluster& operator=(const SimCluster&) = delete;

  // ---- what happens
  // Scheduler and nodes begin within the next 100 ms, in a drawn order.
  void start();
  void start_node(std::size_t node);
  // The job's id. Precondition: the scheduler takes it within `bound_us`.
  std::string submit(const nlohmann::json& job, std::int64_t bound_us = 30'000'000);
  // As the command line asks: repeated until answered. Nothing if no answer came in time.
  std::optional<net::Reply> ask(const std::string& verb, const nlohmann::json& body,
                                std::int64_t bound_us = 30'000'000);
  // `sidestep export`, up to the bytes: asks until there is a snapshot, then pulls every stage.
  struct Export {
    std::string problem;  // not empty: why there is none
    std::uint64_t commit = 0;
    std::vector<std::vector<float>> stages;
  };
  Export export_job(const std::string& job, std::int64_t bound_us = 60'000'000);
  // Both ways, between two nodes; or between a node and the scheduler.
  void cut(std::size_t a, std::size_t b);
  void heal(std::size_t a, std::size_t b);
  // From a to b alone.
  void cut_one_way(std::size_t a, std::size_t b);
  void cut_from_scheduler(std::size_t node);
  void heal_to_scheduler(std::size_t node);
  // The process ends: its connections close. `machine_too`: they do not, it is only silent.
  void kill(std::size_t node, bool machine_too = false);
  // SIGTERM; with a grace period it hands over first.
  void stop(std::size_t node, const std::string& reason, std::int64_t grace_us = 0);
  // SIGSTOP: for so long the process takes nothing in and does nothing.
  void pause(std::size_t node, std::int64_t duration_us);
  // The scheduler's process ends; a new one begins from what is stored, `down_us` later.
  void restart_scheduler(std::int64_t down_us);
  // Does something later, between two events.
  void at(std::int64_t time_us, std::function<void()> what);

  // ---- time
  std::int64_t now_us() const { return network_.now_us(); }
  void run_for(std::int64_t duration_us);
  // Until so many nodes are members, as the scheduler answers.
  bool run_until_joined(std::size_t nodes, std::int64_t bound_us = 60'000'000);
  // True as soon as the condition holds, false at the bound.
  bool run_until(const std::function<bool()>& condition, std::int64_t bound_us);
  // Until the scheduler has stored that step's record.
  bool run_until_commit(const std::string& job, std::uint64_t step, std::int64_t bound_us = 600'000'000);
  // Until the scheduler has stored that the job ended, one way or another.
  bool run_until_ended(const std::string& job, std::int64_t bound_us = 600'000'000);

  // ---- what is seen
  // As last stored; null before the scheduler has taken it.
  const scheduler::JobRow* job(const std::string& id) const;
  std::vector<scheduler::RecordStep> record(const std::string& job) const;
  // Every plan that the job has had, by epoch.
  const std::map<std::uint64_t, scheduler::Plan>& plans(const std::string& job) const {
    return plans_.at(job);
  }
  // These, and those that were offered: the swarm may have worked under one before another loss.
  const std::map<std::uint64_t, scheduler::Plan>& plans_and_offers(const std::string& job) const {
    return offers_.at(job);
  }
  std::size_t node_count() const { return nodes_.size(); }
  const net::NodeKey& key(std::size_t node) const { return nodes_[node].key; }
  // Precondition: some node has the key.
  std::size_t node_of(const net::NodeKey& key) const;
  std::optional<std::size_t> find_node(const net::NodeKey& key) const;
  const std::string& nickname(std::size_t node) const { return nodes_[node].nickname; }
  bool alive(std::size_t node) const { return nodes_[node].core != nullptr; }
  // That run of the node has not ended.
  bool runs(std::size_t node, net::BootId boot) const;
  const FakeTrace& fake(std::size_t node) const { return *nodes_[node].fake; }
  // From now on the node saves no snapshot.
  void fill_disk(std::size_t node) { nodes_[node].fake->disk_full = true; }
  // So many times the node is out of memory when it is to learn a stage beside those that it holds.
  void fail_lessons(std::size_t node, int times) { nodes_[node].fake->lessons_failing = times; }
  // What a node's last Stop said; nothing while it runs.
  const std::optional<daemon::Stop>& stopped(std::size_t node) const { return nodes_[node].stopped; }
  // Every violation that runners and the cluster saw.
  std::vector<std::string> violations() const;
  // One line for each delivery, task and log line, if SimOptions::trace.
  const std::string& trace() const { return trace_; }
  // The last log lines of everybody, for a failed test's message.
  std::string last_lines() const;
  net::SimNetwork& network() { return network_; }

 private:
  struct Node {
    net::NodeKey key;
    net::BootId boot = 0;
    std::string nickname;
    double speed = 1;
    std::unique_ptr<net::SimBus> bus;
    std::unique_ptr<daemon::NodeCore> core;
    std::unique_ptr<daemon::TaskRunner> runner;
    std::shared_ptr<FakeTrace> fake = std::make_shared<FakeTrace>();
    bool busy = false;
    std::vector<net::NodeKey> peers;
    std::optional<daemon::Stop> stopped;
    bool paused = false;
    std::vector<std::function<void()>> stalled;  // what came meanwhile
  };

  std::function<net::SimLinkOptions(const net::NodeKey&, const net::NodeKey&)> link_by_key() const;
  void step();
  void after(std::int64_t delay_us, std::function<void()> what);
  void take(std::size_t node, const net::NodeKey& peer, net::Channel channel, const net::Envelope& envelope);
  void tick_node(std::size_t node, net::BootId boot);
  void tick_scheduler(net::BootId boot);
  void start_scheduler();
  void start_operator();
  // One stage of an answer to "export"; why it could not be pulled.
  std::string pull(const nlohmann::json& answer, const nlohmann::json& stage, std::vector<float>& values,
                   std::int64_t end_us);
  void perform(std::size_t node, daemon::NodeOutbox out);
  void perform(std::size_t node, const net::Send& send);
  void perform(std::size_t node, const daemon::StartTask& start);
  void perform(std::size_t node, const daemon::SetPeers& peers);
  void perform(std::size_t node, const daemon::WriteLog& log);
  void perform(std::size_t node, const daemon::Stop& stop);
  void perform(scheduler::SchedulerOutbox out);
  void perform(const net::Send& send);
  void perform(const scheduler::Persist& persist);
  void perform(const scheduler::StartQuery& query);
  void perform(const scheduler::StartPlanning& planning);
  void perform(const scheduler::WriteLog& log);
  void perform(const scheduler::SetAdmitted& set);
  void note(const std::string& who, const net::LogLine& line);
  void write_trace(const std::string& line);
  // Now, or when the node is no longer paused; never for another run of it.
  void when_awake(std::size_t node, net::BootId boot, std::function<void()> what);
  std::string name_of(const net::NodeKey& key) const;

  SimOptions options_;
  SimObserver nobody_;
  SimObserver& observer_;
  net::Random random_;
  net::SimNetwork network_;
  std::map<std::pair<std::int64_t, std::uint64_t>, std::function<void()>> events_;  // by time, then order
  std::uint64_t next_event_ = 0;
  net::BootId next_boot_ = 1;

  net::NodeKey scheduler_key_;
  net::BootId scheduler_boot_ = 0;
  std::unique_ptr<scheduler::Store> store_;
  std::unique_ptr<net::SimBus> scheduler_bus_;
  std::unique_ptr<scheduler::SchedulerCore> scheduler_;
  std::map<std::string, scheduler::JobRow> jobs_;
  std::map<std::string, std::map<std::uint64_t, scheduler::Plan>> plans_;   // by job, epoch
  std::map<std::string, std::map<std::uint64_t, scheduler::Plan>> offers_;  // all of these, and more

  net::NodeKey operator_key_;
  net::BootId operator_boot_ = 0;
  std::unique_ptr<net::SimBus> operator_bus_;
  std::uint64_t next_request_ = 1;
  std::map<std::uint64_t, net::Reply> replies_;
  std::function<void(const net::NodeKey& peer, const net::Slice&)> on_slice_;

  std::vector<Node> nodes_;
  std::map<net::NodeKey, std::size_t> numbers_;  // of nodes_, by key
  std::vector<std::string> violations_;
  std::string trace_;
  std::vector<std::string> lines_;
};

}  // namespace sidestep::sim
