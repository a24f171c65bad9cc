#include "daemon/simulator/simulation.h"

#include <algorithm>
#include <cmath>
#include <deque>

#include "daemon/simulator/timed_runner.h"
#include "net/clock.h"
#include "scheduler/plan_model.h"

namespace sidestep::sim {
namespace {

// A planner's search with the work that a plan is given, as on two cores (docs/planning.md).
constexpr double planned_tasks_per_us = 16;
constexpr std::size_t nodes_of_one_share = 200;  // of PlacementRequest::work

constexpr std::int64_t join_bound_us = 600 * net::second;
// Before the job is submitted, so that all nodes have been told of each other: views for hundreds take
// seconds, and who is not known does not answer when the links are measured.
constexpr std::int64_t settle_us = net::second, settle_us_a_node = 10 * net::ms;
constexpr std::int64_t begin_bound_us = 1'800 * net::second;
constexpr std::int64_t end_bound_us = 600 * net::second;  // from the last commit to the job's end
constexpr std::int64_t drain_us = 25 * net::second;       // as a daemon's drain_ms

std::int64_t microseconds(double seconds) { return std::llround(seconds * 1e6); }

class Simulation {
 public:
  Simulation(const Scenario& scenario, std::uint64_t seed, SwarmWatch::Trace trace)
      : scenario_(scenario),
        seed_(seed),
        random_(seed ^ 0x5ce7a810u),
        zeros_(std::make_shared<Zeros>(scenario.job)),
        watch_(std::move(trace)) {
    draw_machines();
    make_links();
    cluster_.emplace(options());
    watch_.attach(*cluster_);
  }

  Result<SimReport> run() {
    cluster_->start();
    const std::size_t there = machines_.size() - later_;
    if (!cluster_->run_until([&] { return watch_.members() == there; }, join_bound_us))
      return stuck("not all nodes have joined");
    cluster_->run_for(settle_us + static_cast<std::int64_t>(there) * settle_us_a_node);
    const auto reply = cluster_->ask("submit", {{"spec", scenario_.job_json}, {"source", "the scenario"}});
    if (!reply) return stuck("the scheduler did not answer");
    if (reply->code != Code::ok) return Status(reply->code, reply->message);
    job_ = reply->body.at("job").get<std::string>();
    watch_.follow(job_, static_cast<std::uint64_t>(scenario_.job.steps));
    if (!cluster_->run_until([&] { return watch_.begun() || has_ended(); }, begin_bound_us))
      return stuck("the first step did not begin");
    if (!watch_.begun())
      return Status::refused("the job ended before its first step: " + cluster_->job(job_)->reason);
    plan_events();
    const std::int64_t end_us = watch_.begin_us() + microseconds(scenario_.duration_s);
    cluster_->run_until([&] { return has_ended() || watch_.has_all_steps(); }, end_us - cluster_->now_us());
    watch_.finish(cluster_->now_us(), failed() ? Share::redo : Share::useful);
    if (watch_.has_all_steps() && !cluster_->run_until([&] { return has_ended(); }, end_bound_us))
      return stuck("the job did not end after its last step");
    const std::vector<std::string> violations = cluster_->violations();
    if (!violations.empty()) return stuck(violations.front());
    return report();
  }

 private:
  void draw_machines() {
    net::Random random(seed_);
    for (const ScenarioNodes& group : scenario_.nodes) {
      if (group.later) later_ += static_cast<std::size_t>(group.count);
      for (std::int64_t i = 0; i < group.count; ++i) {
        const double slower = 1 + group.spread * random.uniform();
        const auto us = [&](double ms) { return std::max<std::int64_t>(1, std::llround(ms * 1e3 * slower)); };
        TimedMachine machine;
        machine.layer_forward_us = us(group.layer_forward_ms);
        machine.layer_backward_us =
            us(group.layer_backward_ms > 0 ? group.layer_backward_ms : 2 * group.layer_forward_ms);
        machine.head_us = us(group.head_ms > 0 ? group.head_ms : group.layer_forward_ms);
        machine.task_spread = group.task_spread;
        machine.memory_bytes_per_us = group.memory_gb_s * 1e3 / slower;
        machine.memory_bytes = static_cast<std::uint64_t>(group.memory_gib * 0x1p30);
        machine.has_data = group.has_data;
        machines_.push_back(std::make_shared<TimedMachine>(machine));
        regions_.push_back(region_of(group.region));
      }
    }
    for (std::size_t node = machines_.size() - later_; node < machines_.size(); ++node) down_.push_back(node);
  }

  std::size_t region_of(const std::string& name) const {
    if (!scenario_.wan) return 0;
    const auto& regions = scenario_.wan->regions;
    return static_cast<std::size_t>(std::ranges::find(regions, name) - regions.begin());
  }

  static net::SimLinkOptions link(double latency_s, double bytes_per_s, double jitter_s, double loss) {
    net::SimLinkOptions options;
    options.delay_us_min = microseconds(latency_s);
    options.delay_us_max = options.delay_us_min + microseconds(jitter_s);
    options.bytes_per_us = bytes_per_s / 1e6;
    options.loss = loss;
    return options;
  }

  void make_links() {
    const ScenarioLinks& links = scenario_.links;
    const double jitter_s = links.jitter_ms / 1e3;
    if (!scenario_.wan) {
      links_ = {link(links.latency_ms / 1e3, links.bandwidth_mbit_s * 1e6 / 8, jitter_s, links.loss)};
      return;
    }
    const scheduler::WanTable& wan = *scenario_.wan;
    for (std::size_t i = 0; i < wan.latency_s.size(); ++i)
      links_.push_back(link(wan.latency_s[i], wan.bandwidth[i], wan.jitter_s[i].value_or(jitter_s),
                            wan.loss[i].value_or(links.loss)));
  }

  SimOptions options() {
    SimOptions options;
    options.seed = seed_;
    options.nodes = machines_.size();
    options.nodes_later = later_;
    // The scheduler and the operator are where the first node is.
    options.link_of = [this](std::optional<std::size_t> from, std::optional<std::size_t> to) {
      const std::size_t regions = scenario_.wan ? scenario_.wan->regions.size() : 1;
      return links_[regions_[from.value_or(0)] * regions + regions_[to.value_or(0)]];
    };
    options.tick_us_min = 40 * net::ms;
    options.chunk_bytes = daemon::NodeOptions().chunk_bytes;
    options.through_codec = false;
    options.keep_history = false;
    options.observer = &watch_;
    options.plan_work = scenario_.planning_work;
    options.planning_us = [](const scheduler::PlacementRequest& request) {
      const std::uint64_t shares = 1 + request.nodes.size() / nodes_of_one_share;
      return net::ms + std::llround(static_cast<double>(request.work * shares) / planned_tasks_per_us);
    };
    options.runner = [this](std::size_t node) {
      return std::make_unique<TimedRunner>(machines_[node], zeros_, random_.next());
    };
    return options;
  }

  // ---- what happens

  void plan_events() {
    for (const ScenarioEvent& event : scenario_.events)
      cluster_->at(watch_.begin_us() + microseconds(event.at_s), [this, &event] { perform(event); });
    if (scenario_.churn.every_s > 0) churn_later();
  }

  void perform(const ScenarioEvent& event) {
    const EventForm* form = find_event_form(event.kind);
    SIDESTEP_ASSERT(form != nullptr);
    const auto for_us = microseconds(event.for_s);
    const auto node = static_cast<std::size_t>(event.node - 1);
    const bool is_of_node = form->node && form->kind != EventKind::start;
    if (is_of_node && !cluster_->alive(node)) return note_of(node, event.kind + ": it is not there");
    switch (form->kind) {
      case EventKind::kill:
      case EventKind::vanish:
        return take(node, form->kind == EventKind::vanish);
      case EventKind::start:
        return start(node);
      case EventKind::drain:
        note_of(node, "is drained");
        return cluster_->stop(node, "the scenario drains it", drain_us);
      case EventKind::pause:
        note_of(node, "does nothing for " + scheduler::milliseconds(for_us));
        return cluster_->pause(node, for_us);
      case EventKind::cut:
        return cut(node, event.peer, for_us);
      case EventKind::slow:
        note_of(node, "takes " + factor_text(event.factor) + " times as long from now on");
        machines_[node]->factor = event.factor;
        return;
      case EventKind::restart_scheduler:
        note("scheduler", "restarts, down for " + scheduler::milliseconds(for_us));
        return cluster_->restart_scheduler(for_us);
    }
  }

  void cut(std::size_t node, std::int64_t peer_number, std::int64_t for_us) {
    const bool scheduler = peer_number == 0;
    const std::size_t peer = scheduler ? 0 : static_cast<std::size_t>(peer_number - 1);
    const std::string other = scheduler ? "the scheduler" : cluster_->nickname(peer);
    note_of(node, "is cut off from " + other + " for " + scheduler::milliseconds(for_us));
    scheduler ? cluster_->cut_from_scheduler(node) : cluster_->cut(node, peer);
    cluster_->at(cluster_->now_us() + for_us, [this, node, peer, scheduler, other] {
      note_of(node, "reaches " + other + " again");
      scheduler ? cluster_->heal_to_scheduler(node) : cluster_->heal(node, peer);
    });
  }

  void take(std::size_t node, bool machine_too) {
    note_of(node, machine_too ? "vanishes with its machine" : "is killed");
    cluster_->kill(node, machine_too);
    down_.push_back(node);
  }

  void start(std::size_t node) {
    if (cluster_->alive(node)) return note_of(node, "start: it is there already");
    note_of(node, "comes");
    std::erase(down_, node);
    cluster_->start_node(node);
  }

  void churn_later() {
    cluster_->at(cluster_->now_us() + microseconds(scenario_.churn.every_s), [this] {
      churn();
      churn_later();
    });
  }

  void churn() {
    std::vector<std::size_t> there;
    for (std::size_t node = 0; node < machines_.size(); ++node)
      if (cluster_->alive(node)) there.push_back(node);
    if (there.empty()) return;
    const auto drawn = random_.between(0, static_cast<std::int64_t>(there.size()) - 1);
    take(there[static_cast<std::size_t>(drawn)], random_.chance(scenario_.churn.vanish_share));
    if (scenario_.churn.another_after_s == 0) return;
    cluster_->at(cluster_->now_us() + microseconds(scenario_.churn.another_after_s), [this] {
      if (!down_.empty()) start(down_.front());  // the one that was never there, or is gone for longest
    });
  }

  void note(const std::string& who, const std::string& what) { watch_.note(cluster_->now_us(), who, what); }
  void note_of(std::size_t node, const std::string& what) { note(cluster_->nickname(node), what); }

  static std::string factor_text(double factor) {
    std::string text = std::to_string(factor);
    text.erase(text.find_last_not_of('0') + 1);
    return text.back() == '.' ? text.substr(0, text.size() - 1) : text;
  }

  // ---- what came of it

  bool has_ended() const {
    const scheduler::JobRow* row = cluster_->job(job_);
    return row != nullptr && ended(row->state);
  }
  bool failed() const { return has_ended() && cluster_->job(job_)->state != scheduler::JobState::done; }

  Status stuck(const std::string& what) const {
    return Status::internal(
        "seed " + std::to_string(seed_) + ", " + std::to_string(cluster_->now_us() / net::second) +
        " s after the swarm's start: " + what + "; the last log lines are\n" + cluster_->last_lines());
  }

  SimReport report() const {
    const scheduler::JobRow& row = *cluster_->job(job_);
    SimReport report;
    report.seed = seed_;
    report.nodes = machines_.size();
    report.state = row.state;
    report.reason = row.reason;
    report.prepared_us = watch_.begin_us();
    report.duration_us = watch_.end_us() - watch_.begin_us();
    report.steps = watch_.steps();
    report.steps_wanted = static_cast<std::uint64_t>(scenario_.job.steps);
    report.tokens = watch_.tokens();
    report.shares = watch_.shares();
    report.plans = watch_.plans();
    report.notes = watch_.notes();
    return report;
  }

  const Scenario& scenario_;
  std::uint64_t seed_;
  net::Random random_;  // of what happens to whom, and of runners' seeds
  std::vector<std::shared_ptr<TimedMachine>> machines_;
  std::vector<std::size_t> regions_;        // by node
  std::vector<net::SimLinkOptions> links_;  // [from * regions + to]
  std::size_t later_ = 0;
  std::deque<std::size_t> down_;  // may come
  std::shared_ptr<const Zeros> zeros_;
  SwarmWatch watch_;
  std::optional<SimCluster> cluster_;
  std::string job_;
};

}  // namespace

std::int64_t median_us(std::vector<std::int64_t> took_us) {
  if (took_us.empty()) return 0;
  const auto middle = took_us.begin() + static_cast<std::ptrdiff_t>((took_us.size() - 1) / 2);
  std::ranges::nth_element(took_us, middle);
  return *middle;
}

std::int64_t SimReport::median_us() const {
  std::vector<std::int64_t> all;
  for (const SimPlan& plan : plans) all.insert(all.end(), plan.took_us.begin(), plan.took_us.end());
  return sim::median_us(std::move(all));
}

Result<SimReport> simulate(const Scenario& scenario, std::uint64_t seed, SwarmWatch::Trace trace) {
  return Simulation(scenario, seed, std::move(trace)).run();
}

}  // namespace sidestep::sim
