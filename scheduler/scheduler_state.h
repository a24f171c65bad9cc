// The inside of SchedulerCore, for the files that handle its messages: membership.cpp, letting_in.cpp,
// guests.cpp (who may look at the nodes), queue.cpp (a job's way from queued to its end), replan.cpp,
// commits.cpp, snapshots.cpp, requests.cpp, logs.cpp. Nobody else includes this.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "net/assert.h"
#include "scheduler/scheduler_core.h"

namespace sidestep::scheduler {

struct SchedulerCore::State {
  // A member of the view.
  struct Node {
    net::Member member;
    net::Resources resources;
    bool greeted = false;  // said Hello to this run of the scheduler
    bool heard = false;    // said anything to this run of the scheduler
    std::int64_t heard_us = 0;
    std::optional<std::int64_t> closed_us;  // its connection was closed then, nothing was heard since
    std::optional<net::JobProgress> progress;
  };

  // The one job that is preparing, starting or running.
  struct Active {
    std::string id;
    JobSpec spec;
    // preparing
    std::map<net::NodeKey, std::optional<net::Prepared>> answers;  // nodes asked
    std::int64_t deadline_us = 0;
    std::optional<std::uint64_t> planning;  // id of the question under way
    // starting, running
    Plan plan;
    struct Report {
      net::NodeKey peer;
      net::Envelope envelope;
    };
    std::map<std::uint64_t, Report> early_reports;        // by step, not acknowledged yet
    std::optional<std::int64_t> start_deadline_us;        // set with the plan
    std::optional<std::int64_t> finish_deadline_us;       // set with the last commit
    std::set<std::pair<net::NodeKey, net::BootId>> lost;  // declared dead since, while they held a stage
    std::uint64_t snapshot_asked = 0;  // a snapshot of this commit or a later one was asked for
  };

  struct Visitor {
    std::string data_address;  // empty: it connects to the nodes
    std::int64_t until_us = 0;
    net::NodeKey by;  // who asked for it: an operator or a node, for itself or a visit, or an invite
  };

  struct PendingQuery {
    net::NodeKey peer;
    net::BootId boot = 0;
    std::uint64_t number = 0;
    std::string verb;
    std::string job;
    std::uint64_t after = 0;
    std::uint64_t limit = 0;
  };

  using RequestName = std::tuple<net::NodeKey, net::BootId, std::uint64_t>;

  State(SchedulerOptions o, SavedState saved);

  // ---- sending and telling
  void send(const net::NodeKey& peer, net::BootId boot, net::Message message);
  // Repeated until acknowledged or the node is dead. Gives the envelope's id.
  std::uint64_t post(const Node& node, net::Message message);
  void acknowledge(const net::NodeKey& peer, const net::Envelope& envelope);
  void emit(std::vector<net::Send> sends);
  void persist(StoreChange change) { out->push_back(Persist{std::move(change)}); }
  void log(net::LogLevel level, const std::string& job, const std::string& text);
  std::int64_t wall_us() const { return now_us + options.wall_offset_us; }

  // ---- membership.cpp
  void on(const net::NodeKey& peer, const net::Envelope& envelope, const net::Hello& hello);
  void on(const net::NodeKey& peer, const net::Envelope& envelope, const net::Heartbeat& heartbeat);
  void on(const net::NodeKey& peer, const net::Envelope& envelope, const net::Goodbye& goodbye);
  void on(const net::NodeKey& peer, const net::Envelope& envelope, const net::Ack& ack);
  void welcome(const Node& node);
  void join(const net::NodeKey& key, const net::Envelope& envelope, const net::Hello& hello);
  void declare_dead(const net::NodeKey& key, const std::string& why);
  void find_deaths();
  // Another view number, for the members as they are now; stored, not yet told.
  void change_view();
  bool may_tell_view() const;
  // To all that have greeted.
  void tell_view();
  // The member that sent this envelope and has greeted, or null: it must say Hello first, or it is another
  // boot.
  Node* sender(const net::NodeKey& peer, const net::Envelope& envelope);
  bool all_greeted() const;
  // "node b3f1 (n3, 10.0.0.4:7001)": how messages for people name a node.
  static std::string label(const net::Member& member);

  // ---- guests.cpp
  void on(const net::NodeKey& peer, const net::Envelope& envelope, const net::Visit& visit);
  // Lets the key connect to all data sockets from now on, or longer if it may already. Nodes answer it at
  // `data_address`, or on its own connection where that is empty.
  void admit_guest(const net::NodeKey& key) { admit_guest(key, {"", now_us + options.guest_us, key}); }
  void admit_guest(const net::NodeKey& key, Visitor visitor);
  // Those that the key brought in, itself among them: it was shut out.
  void dismiss_guests(const net::NodeKey& by);
  void expire_guests();
  void publish_guests();
  void post_guests(const Node& node);

  // ---- letting_in.cpp
  void on(const net::NodeKey& peer, const net::Envelope& envelope, const net::Join& join);
  // Whether to go on with what this peer sent: by an invite one may join or visit, and no more;
  // who was shut out may nothing.
  bool may_say(const net::NodeKey& peer, const net::Message& message);
  // Empty while the invite is open.
  std::string why_ended(const InviteRow& invite) const;
  void let_in_at_start();
  void decide(Admission admission);
  void forget_stale_invites();
  std::string label(const net::NodeKey& key) const;
  Result<nlohmann::json> admit(const net::NodeKey& by, const nlohmann::json& body);
  Result<nlohmann::json> revoke(const net::NodeKey& by, const nlohmann::json& body);
  Result<nlohmann::json> invite(const nlohmann::json& body);
  nlohmann::json admitted_json() const;
  nlohmann::json invites_json() const;

  // ---- queue.cpp
  void on(const net::NodeKey& peer, const net::Envelope& envelope, const net::Prepared& prepared);
  void on(const net::NodeKey& peer, const net::Envelope& envelope, const net::JobFault& fault);
  void start_next_job();
  void ask_to_prepare(const Node& node);
  void plan_when_prepared();
  PlacementRequest placement_request(std::uint64_t epoch);
  void settle_digests();
  void settle_precision();
  bool settle(std::string& digest_of_job, const std::string& digest);
  // Whether the node can take part as far as its answer goes: no problem, and the job's init_from.
  bool can_take_part(const net::Prepared& answer) const;
  void adopt(Plan plan);
  void send_start(const Node& node);
  void end_active(JobState state, const std::string& reason);
  void post_end(const Node& node, const std::string& job, const std::string& reason);
  // A node has joined or greeted again.
  void job_meets_node(const Node& node);
  void resume_active();
  JobRow& row(const std::string& id);
  JobRow* find_row(const std::string& id);
  const JobRow* find_row(const std::string& id) const;
  void set_state(JobRow& row, JobState to);
  void save(const JobRow& row) { persist(PutJob{row}); }

  // ---- replan.cpp
  void job_loses_node(const net::Member& member, const std::string& why);
  // This run of the node is a member.
  bool lives(const net::Member& member) const;
  // Lives, and has not been declared dead since the job began. Precondition: a job is active.
  bool takes_part(const net::Member& member) const;
  // Everybody that takes part has applied the last commit.
  bool all_have_applied() const;
  PlacementRequest request_for_rest() const;
  void adopt_for_rest(Plan plan);
  static std::string predicted_text(const Plan& plan);

  // ---- commits.cpp
  void on(const net::NodeKey& peer, const net::Envelope& envelope, const net::CommitReport& report);
  void take_report(const net::NodeKey& peer, const net::Envelope& envelope, const net::CommitReport& report);
  bool committed_all() const;
  void end_if_finished();
  // Everything of the active job is committed: ends it as done, or as failed for the reason it ended early.
  void end_committed();
  void end_if_stuck_at_start();

  // ---- snapshots.cpp
  void on(const net::NodeKey& peer, const net::Envelope& envelope, const net::SnapshotTaken& taken);
  // `export`: where the stages of a job's snapshot are, or what it waits for.
  Result<nlohmann::json> find_snapshot(const net::NodeKey& peer, const nlohmann::json& body);
  void ask_for_snapshot(std::uint64_t at_least);
  Result<nlohmann::json> sources_of(const JobRow& job) const;
  // The node has said, of this stage at this commit, that it is saved or why it is not.
  static bool has_copy(const JobRow& job, std::uint64_t commit, std::uint32_t stage,
                       const net::NodeKey& node);
  // For people: the stages that the newest snapshot lacks, and why.
  static std::string unsaved(const JobRow& job, std::uint32_t stages);

  // ---- logs.cpp
  void on(const net::NodeKey& peer, const net::Envelope& envelope, const net::LogBatch& batch);

  // ---- requests.cpp
  void on(const net::NodeKey& peer, const net::Envelope& envelope, const net::Request& request);
  net::Reply answer(const net::NodeKey& peer, const net::Envelope& envelope, const net::Request& request,
                    bool& later);
  Result<nlohmann::json> submit(const nlohmann::json& body);
  Result<nlohmann::json> cancel(const nlohmann::json& body);
  Result<nlohmann::json> status(const nlohmann::json& body);
  Result<StoreQuery> query_for(const net::Request& request, PendingQuery& pending);
  nlohmann::json summary(const JobRow& row) const;
  nlohmann::json nodes_json() const;
  std::vector<PlacementNode> memory_by_node() const;
  std::uint64_t planned_bytes(const net::NodeKey& key) const;
  std::string waiting_for() const;
  Result<JobRow*> wanted_job(const nlohmann::json& body);

  // Everything else a peer may send means nothing to a scheduler.
  template <class Other>
  void on(const net::NodeKey& peer, const net::Envelope& envelope, const Other&) {
    log(net::LogLevel::warning, "",
        "dropped " + std::string(net::name_of(envelope.message)) + " from " + peer.short_name() +
            ": not for a scheduler");
  }

  void check_invariants() const;

  const SchedulerOptions options;
  const std::uint64_t term;
  net::Courier courier;
  Admissions admissions;
  net::View view;
  std::uint64_t told_view;  // number of the one that all were told
  std::int64_t view_told_us = 0;
  std::map<net::NodeKey, Node> nodes;  // the view's members
  std::map<net::NodeKey, Visitor> guests;
  std::uint64_t guests_number = 0;       // of the list, within this run
  std::map<std::uint64_t, JobRow> jobs;  // by submission
  std::optional<Active> active;
  // EndJob envelopes not acknowledged yet; the next job waits, so that no node holds two.
  std::map<std::uint64_t, net::NodeKey> ending;
  // Replies to requests that change something: a repeated request gets the same one again.
  std::map<RequestName, net::Reply> replies;
  std::deque<RequestName> replies_by_age;
  std::map<std::uint64_t, PendingQuery> queries;
  std::uint64_t next_id = 1;  // of queries and plannings
  std::optional<std::int64_t> last_tick_us;

  // Of the event being handled.
  std::int64_t now_us = 0;
  SchedulerOutbox* out = nullptr;
};

}  // namespace sidestep::scheduler
