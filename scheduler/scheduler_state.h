// The inside of SchedulerCore, for the files that handle its messages: membership.cpp, letting_in.cpp,
// guests.cpp (who may look at the nodes), queue.cpp (a job's way from queued to its end), replan.cpp (a node
// of it is lost), changes.cpp (a plan that takes effect at a Commit), joining.cpp (nodes that come and go
// while it runs), commits.cpp, measuring.cpp, step_status.cpp, snapshots.cpp, requests.cpp, logs.cpp. Nobody
// else includes this.
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
#include "scheduler/checkpoint_manifest.h"
#include "scheduler/record.h"
#include "scheduler/scheduler_core.h"
#include "scheduler/step_watch.h"

namespace sidestep::scheduler {

// Silence after which people are told; a node is dead only later.
inline constexpr std::int64_t silent_shown_us = 1'000'000;

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
    std::optional<std::string> leaving;  // it wants to end, or an operator wants it to, and why
    bool released = false;               // and was told that it may
    bool stuck_told = false;             // people were told that nobody can take its stages over
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
    // The newest loss that the plan does not do without yet.
    struct Loss {
      std::string why;   // for the end of the job, should it be that
      std::string what;  // for the plan without
      std::int64_t seen_us = 0;
      std::int64_t detect_us = 0;  // since the node's last sign of life
    };
    std::optional<Loss> loss;
    // Of stages that are out, as far as this run of the scheduler has seen it.
    struct Outage {
      std::int64_t seen_us = 0;
      std::int64_t detect_us = 0;
      std::int64_t replan_us = 0;
      std::int64_t first_step_us = 0;  // 0: none was committed since
    };
    std::map<std::uint32_t, Outage> outages;

    // A plan that every node gets before one Commit names it.
    struct Change {
      Plan plan;
      net::View view;                                 // of those that hold stages under it
      std::map<std::uint64_t, net::NodeKey> unacked;  // its envelopes, not acknowledged
      bool posted = false;                            // by this run of the scheduler
      bool told = false;  // the lead origin may name it; from then on it cannot be taken back
      std::set<net::NodeKey> faulted = {};  // under it, before the Commit that names it was reported
    };
    std::optional<Change> change;
    // Who is to hold and to learn what under the plan that is being made for a change; nothing while a first
    // plan, or one for a loss, is made.
    struct Growth {
      StagesByNode stages_of;
      StagesByNode learners;
    };
    std::optional<Growth> growth;
    std::set<net::NodeKey> unproven;  // were given a stage by the plan, have not said that they work under it
    // Not proven by then, they are taken to have lost something with a node that has gone.
    std::optional<std::int64_t> prove_by_us;
    // Held a stage under a plan before, and still have the job; the plan that does without each.
    std::map<net::NodeKey, std::uint64_t> gone;
    std::map<net::NodeKey, int> failures;   // to learn a stage
    std::set<net::NodeKey> failed_lessons;  // holders that gave up what the plan has them learn
    std::set<std::uint32_t> homeless;       // stages that are out and that nobody can rebuild, as was told
    std::vector<std::uint32_t> unmirrored;  // stages that nobody can keep the mirror of, as was told
    // Stages that are out, as of which commit; where the scheduler was restarted since, as of its restart.
    std::map<std::uint32_t, std::uint64_t> out_since;
    std::set<std::uint32_t> lone;      // with fewer holders than wanted and no node for more, as was told
    std::set<net::NodeKey> spare;      // more replicas would only cost time
    std::int64_t host_after_us = 0;    // before, a stage that is out waits for who may soon be free
    std::int64_t grow_after_us = 0;    // not before, for the last try was in vain
    std::int64_t drift_after_us = 0;   // nor are routes alone looked for again
    std::uint64_t snapshot_asked = 0;  // a snapshot of this commit or a later one was asked for
    // A checkpoint that its nodes write; a loss gives it up.
    struct Coming {
      std::uint64_t commit = 0;
      std::uint64_t epoch = 0;
      std::map<std::uint32_t, CheckpointManifest::Stage> stages;
      std::optional<net::NodeKey> sealer;  // was asked for the manifest
      std::string digest;                  // of it
      int passed = 0;                      // later ones that were left out for it
    };
    std::optional<Coming> checkpoint;
    std::string unplanned;  // no plan could be made with the nodes that there are: a job that went back waits
    std::string unplanned_told;
    std::int64_t share_after_us = 0;                 // for so long; then nodes may hold several stages
    std::int64_t ask_again_us = 0;                   // those that had a problem, not before
    std::map<net::NodeKey, net::Measured> measured;  // what each node told last
    StepSets step_sets;
    StepWatch step_watch;
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
  void start_planning(PlacementRequest request);
  void end_active(JobState state, const std::string& reason);
  // What is on its way to nodes of the active job means nothing any more.
  void drop_orders();
  // Every plan up to `epoch` is over for the node.
  void post_end(const Node& node, const std::string& job, const std::string& reason, std::uint64_t epoch);
  // A node has joined or greeted again; `first`: it was a member before this run of the scheduler, and has
  // not greeted it so far.
  void job_meets_node(const Node& node, bool first);
  // Of the active job, at a first greeting: its run has ended, and the scheduler that knew is not this one.
  void take_lost_run(const Node& node);
  void resume_active();
  JobRow& row(const std::string& id);
  JobRow* find_row(const std::string& id);
  const JobRow* find_row(const std::string& id) const;
  void set_state(JobRow& row, JobState to);
  // Of the active job.
  std::uint64_t last_epoch() const { return find_row(active->id)->last_epoch; }
  void save(const JobRow& row) { persist(PutJob{row}); }

  // ---- changes.cpp
  // Makes this plan known to everybody concerned; when all have it, the next Commit names it.
  void offer(Plan plan);
  void post_offer();
  void withdraw_offer();
  // What is offered, and what is planned to be, if that can still be taken back.
  void void_changes();
  // After a restart of the scheduler.
  void restore_change(const JobRow& job);
  // To the row: who has not taken over, who has gone, who was drained; not yet stored.
  void note_handing_over(JobRow& job) const;
  void take_ack_of_offer(const net::NodeKey& peer, const net::Ack& ack);
  void tell_lead_if_all_have_it();
  // A Commit has named it.
  void adopt_offered();
  net::View members_of(const Plan& plan) const;
  // Holds or learns a stage of the active job, or still has it.
  bool has_part(const net::NodeKey& key) const;
  // The plan for who is to hold and learn what was made, or cannot be.
  void on_plan_of_change(const Result<Plan>& planned);
  // The same nodes with the same stages: only the routes are other ones.
  void on_plan_for_drift(const Result<Plan>& planned, const Active::Growth& growth);

  // ---- joining.cpp
  void on(const net::NodeKey& peer, const net::Envelope& envelope, const net::Leaving& leaving);
  Result<nlohmann::json> drain(const nlohmann::json& body);
  void let_leave(Node& node, const std::string& why);
  // What the job does about those that came, have learned or want to leave.
  void grow();
  // A node of the job has told how far it is.
  void follow_progress(const Node& node);
  // Has said that it works under that plan of the active job, or a later one.
  bool works_under(const Node& node, std::uint64_t epoch) const;
  // One that was given a stage by the plan, and cannot hold it.
  void lose_successor(const Node& node, const std::string& why);
  // A node that has gone, and may owe them something, tells no more: by when they have to work.
  void expect_successors();
  // Those that do not.
  void lose_stuck_successors();
  // Those that leave and have no part in a job any more may go.
  void release_leaving();
  void release_gone();
  // Each returns whether it has changed anything of who holds, or learns, what.
  bool promote_learners(Active::Growth& growth) const;
  // A learner of the plan that died, failed since or leaves.
  bool learns_in_vain(const net::NodeKey& key) const;
  bool let_go(Active::Growth& growth) const;
  // `lost_alone`: only stages that are out.
  bool teach_newcomers(Active::Growth& growth, bool lost_alone);
  bool find_hosts(Active::Growth& growth);
  // For stages with fewer holders than the job's recovery wants.
  bool find_copies(Active::Growth& growth);
  // A node without a part in the job, which ends what it did for it or has not said yet what it can.
  bool somebody_may_come() const;
  // A node of the job that could take one more stage, or null.
  const net::NodeKey* find_host(std::uint32_t stage, const Active::Growth& growth) const;
  // Does nothing for any job, and could.
  bool is_free(const net::NodeKey& key) const;
  // As far as memory and data go, beside the stages that it holds.
  bool may_hold(const net::NodeKey& key, std::uint32_t stage) const;
  // Nodes that will hold the stage, those that leave not counted.
  std::size_t hosts_of(std::uint32_t stage, const Active::Growth& growth) const;
  // Is out, and not yet for as many steps as the job wants.
  bool stays_out(std::uint32_t stage) const;

  // ---- killing.cpp
  void end_as_if_killed(const Node& node, const std::string& why);
  // By nickname or start of its key.
  Result<Node*> find_node(const std::string& text);
  // One node, or all that hold a stage of the active job.
  Result<nlohmann::json> kill(const net::NodeKey& by, const nlohmann::json& body);
  // All nodes with the stages that the job's failures have lost at this step.
  void obey_failures(std::uint64_t step);

  // ---- replan.cpp
  // `detect_us`: since its last sign of life, where it was silent.
  void job_loses_node(const net::Member& member, const std::string& why, std::int64_t detect_us = 0);
  // After a loss: a plan for those that are left, or the job's end, as soon as it is known who holds what.
  void plan_for_rest();
  // Those that hold a stage of the active job, or are to, and are no members of the view any more.
  void lose_dead_members(const std::string& why);
  // This run of the node is a member.
  bool lives(const net::Member& member) const;
  // Lives, and has not been declared dead since the job began. Precondition: a job is active.
  bool takes_part(const net::Member& member) const;
  // Everybody that takes part has applied the last commit.
  bool all_have_applied() const;
  // Who holds what is settled. After a restart of the scheduler nobody's speed is known; all count alike
  // then.
  PlacementRequest request_for(const StagesByNode& stages_of, std::uint64_t work) const;
  // Of those that are left, who holds what, as sure as every stage can be had.
  StagesByNode held_by_rest() const;
  // Stages of the active plan, ascending.
  std::vector<std::uint32_t> held_by_nobody(const StagesByNode& held) const;
  // Whether the job's policy can give these stages weights again, which nobody holds.
  bool can_rebuild(const std::vector<std::uint32_t>& lost) const;
  StagesByNode lessons_that_go_on(const Plan& plan) const;
  void adopt_for_rest(Plan plan);
  // Since when the plan's stages that are out are so.
  void note_out(const Plan& plan);
  static std::string predicted_text(const Plan& plan);

  // ---- checkpoints.cpp
  void on(const net::NodeKey& peer, const net::Envelope& envelope, const net::CheckpointWritten& written);
  void on(const net::NodeKey& peer, const net::Envelope& envelope, const net::CheckpointSealed& sealed);
  // The nodes of the active job write one of this commit.
  void expect_checkpoint(std::uint64_t commit, std::uint64_t epoch);
  void seal_checkpoint();
  // Where this job's are, and no other's.
  static std::string checkpoint_directory(const JobRow& job);
  void give_up_checkpoint(const std::string& why);
  // What cannot be had otherwise is there: the active job writes checkpoints.
  bool can_go_back() const { return active->spec.recovery.writes_checkpoints(); }
  // The active job goes back to its newest checkpoint, or to how it began: it is the next of the queue.
  void go_back(const std::string& why);
  // It does so again, to the checkpoint before, if it went back and cannot begin with what it went back to.
  // False: it did not, or there is no other.
  bool go_further_back(const std::string& why);
  // The active job went back, and those that are here are too few: it is planned anew when another has
  // answered, or after a while with several stages at a node.
  void wait_for_nodes(const std::string& why);
  void share_out_stages();
  // A folder that could not be seen may be there now.
  void ask_again();
  // Who holds what then, as memory and data allow; nothing: they do not.
  StagesByNode stages_shared_out() const;
  // As nodes are to have it: with the folder of its checkpoints, and the one that it went back to.
  nlohmann::json spec_of_run(const JobRow& job) const;
  // What is settled of the active job's spec goes into its row.
  void keep_settled();
  // Of a run of the job before it went back.
  static bool is_stale(const JobRow& job, const net::Scope& scope);

  // ---- mirrors.cpp
  void on(const net::NodeKey& peer, const net::Envelope& envelope, const net::MirrorKept& kept);
  // Gives the plan its mirrors: who keeps one goes on with it, others are given to whoever has the memory.
  void assign_mirrors(Plan& plan);
  // They are lost, or cannot be relied on.
  void drop_mirrors(const std::function<bool(std::uint32_t stage, const KeptMirror&)>& which);

  // ---- commits.cpp
  void on(const net::NodeKey& peer, const net::Envelope& envelope, const net::CommitReport& report);
  void take_report(const net::NodeKey& peer, const net::Envelope& envelope, const net::CommitReport& report);
  // What is known here of stages that came back is added to the record, told and kept.
  void take_recoveries(JobRow& job, RecordStep& step);
  // That a report of the active job is about, unless it is a repeat or too early.
  std::uint64_t next_step() const;
  void begin_running();
  bool committed_all() const;
  void end_if_finished();
  // Everything of the active job is committed: ends it as done, or as failed for the reason it ended early.
  void end_committed();
  void end_if_stuck_at_start();

  // ---- measuring.cpp
  void on(const net::NodeKey& peer, const net::Envelope& envelope, const net::Measured& measured);
  void on(const net::NodeKey& peer, const net::Envelope& envelope, const net::StepTimes& times);
  // The member that holds a stage of the active job and told this of it, or null: then it means nothing, and
  // if it is garbage that is logged.
  const Node* teller(const net::NodeKey& peer, const net::Envelope& envelope, const net::Scope& scope,
                     const std::string& objection);
  // A step was committed: whether it took what the plan predicted.
  void watch_step(const RecordStep& step);
  // The last steps all took more than 25 % longer, or shorter, than the plan predicted.
  bool has_drifted() const { return active && active->step_watch.has_drifted(); }
  // As HeartbeatReply means it.
  std::uint64_t times_every(const JobRow* job) const;
  // What is known of the speed, memory and ways of these nodes, for whoever plans: as measured while the job
  // runs, else as they answered to PrepareJob. A node that has told neither counts as the others do on
  // average.
  void add_figures(std::vector<PlacementNode>& list) const;
  // The nodes of the active plan, with their figures, in key order.
  std::vector<PlacementNode> nodes_of_plan() const;

  // ---- step_status.cpp
  Result<nlohmann::json> status(const nlohmann::json& body);
  // `times`: the last whole step (step_report.h).
  Result<nlohmann::json> times(const nlohmann::json& body);
  // Of the active job's summary: what steps take, and what they were predicted to take.
  void add_measured(nlohmann::json& summary) const;
  // [{microbatches, hops: [[stage, node key], …]}] of the step under way; microbatches of one route together.
  nlohmann::json routes_json() const;
  // [{from, to, latency_us, bytes_per_s, transfer_us}] of the ways that these routes take.
  nlohmann::json links_json() const;
  // [{node, stages: [{stage, forward_us, backward_us}], head_us, averaging_bytes_per_s}] as last told; 0: not
  // measured.
  nlohmann::json measured_json() const;
  // Who is silent, who has not saved the last commit, and until when that is waited for; else empty.
  // Precondition: a job runs.
  std::string waiting_while_running() const;

  // ---- snapshots.cpp
  void on(const net::NodeKey& peer, const net::Envelope& envelope, const net::SnapshotTaken& taken);
  // `export`: where the stages of a job's snapshot are, or what it waits for.
  Result<nlohmann::json> find_snapshot(const net::NodeKey& peer, const nlohmann::json& body);
  void ask_for_snapshot(std::uint64_t at_least);
  Result<nlohmann::json> sources_of(const JobRow& job, bool rebuild) const;
  // The node has said, of this stage at this commit, that it is saved or why it is not.
  static bool has_copy(const JobRow& job, std::uint64_t commit, std::uint32_t stage,
                       const net::NodeKey& node);
  // For people: the stages that the newest snapshot lacks, and why.
  static std::string unsaved(const JobRow& job, const Plan& plan);

  // ---- logs.cpp
  void on(const net::NodeKey& peer, const net::Envelope& envelope, const net::LogBatch& batch);

  // ---- requests.cpp
  void on(const net::NodeKey& peer, const net::Envelope& envelope, const net::Request& request);
  net::Reply answer(const net::NodeKey& peer, const net::Envelope& envelope, const net::Request& request,
                    bool& later);
  Result<nlohmann::json> submit(const nlohmann::json& body);
  Result<nlohmann::json> cancel(const nlohmann::json& body);
  Result<StoreQuery> query_for(const net::Request& request, PendingQuery& pending);
  nlohmann::json summary(const JobRow& row) const;
  nlohmann::json nodes_json() const;
  std::vector<PlacementNode> memory_by_node() const;
  // At the node under the plan, for the active job: its stages, and with the mirrors that it keeps.
  std::uint64_t held_bytes(const Plan& plan, const net::NodeKey& key) const;
  std::uint64_t planned_bytes(const Plan& plan, const net::NodeKey& key) const;
  // That it has for jobs.
  std::uint64_t memory_of(const net::NodeKey& key) const;
  std::string waiting_for() const;
  // ", at most 12 s more".
  std::string at_most(std::int64_t until_us) const;
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
