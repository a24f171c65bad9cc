#include "daemon/core/node_core.h"
#include "net/clock.h"

#include <catch2/catch.hpp>

#include "daemon/core/membership.h"
#include "daemon/core/task_desk.h"
#include "tests/unit/core/job_fixture.h"

using namespace sidestep;
using daemon::NodeCore;
using daemon::NodeOutbox;
using test::JobFixture;

namespace {

using net::second;
const net::NodeKey scheduler_key = JobFixture::node(200);

daemon::NodeOptions options() {
  daemon::NodeOptions options;
  options.key = JobFixture::node(1);
  options.boot = 11;
  options.scheduler = scheduler_key;
  options.nickname = "node-1";
  return options;
}

net::Welcome welcome(std::uint64_t term, net::BootId boot, std::uint64_t view) {
  return {term, boot, 200'000, {view, {{JobFixture::node(1), 11, "node-1", "h:1"}}}};
}

template <class T>
std::vector<T> messages(const NodeOutbox& out) {
  std::vector<T> found;
  for (const auto& action : out)
    if (const auto* send = std::get_if<net::Send>(&action))
      if (const T* message = std::get_if<T>(&send->envelope.message)) found.push_back(*message);
  return found;
}

bool logs(const NodeOutbox& out, const std::string& text) {
  for (const auto& action : out)
    if (const auto* log = std::get_if<daemon::WriteLog>(&action))
      if (log->line.text.find(text) != std::string::npos) return true;
  return false;
}

void deliver(NodeCore& core, std::int64_t now_us, net::Message message, NodeOutbox& out,
             std::uint64_t id = 0) {
  core.on_message(now_us, scheduler_key, net::Channel::control, {7, id, std::move(message)}, out);
  core.check_invariants();
}

}  // namespace

TEST_CASE("NodeCore: says Hello until welcomed, then sends heartbeats") {
  NodeCore core(options());
  NodeOutbox out;
  core.on_start(0, out);
  CHECK(messages<net::Hello>(out).size() == 1);
  out.clear();
  core.on_tick(second / 2, out);
  CHECK(out.empty());
  core.on_tick(second, out);
  CHECK(messages<net::Hello>(out).size() == 1);
  out.clear();
  deliver(core, second, welcome(1, 7, 1), out);
  CHECK(logs(out, "joined, view 1 of 1 nodes"));
  core.on_tick(second + 1, out);
  core.on_tick(second + 200'001, out);
  CHECK(messages<net::Heartbeat>(out).size() == 2);
}

TEST_CASE("NodeCore: a restarted scheduler is greeted anew, an older or copied one is not followed") {
  NodeCore core(options());
  NodeOutbox out;
  core.on_start(0, out);
  deliver(core, 0, welcome(2, 7, 3), out);
  core.on_tick(0, out);
  out.clear();

  deliver(core, 1, net::HeartbeatReply{1, 1, 5, 3}, out);
  CHECK(logs(out, "a scheduler of term 1 is not followed, term 2 was seen"));
  deliver(core, 1, net::HeartbeatReply{1, 2, 8, 3}, out);
  CHECK(logs(out, "a second scheduler claims term 2"));
  CHECK(messages<net::Hello>(out).empty());
  out.clear();
  deliver(core, 1, net::HeartbeatReply{2, 2, 8, 3}, out);
  CHECK(out.empty());  // said once
  // Nor are its orders taken.
  core.on_message(1, scheduler_key, net::Channel::control, {8, 4, net::EndJob{"job-1", ""}}, out);
  CHECK(out.empty());

  deliver(core, 2, net::HeartbeatReply{1, 3, 9, 3}, out);
  core.on_tick(3, out);
  CHECK(messages<net::Hello>(out).size() == 1);
}

TEST_CASE("NodeCore: a view without this node makes it join anew") {
  NodeCore core(options());
  NodeOutbox out;
  core.on_start(0, out);
  deliver(core, 0, welcome(1, 7, 1), out);
  out.clear();
  deliver(core, 1, net::ViewUpdate{1, {2, {}}}, out, 5);
  CHECK(logs(out, "declared dead"));
  CHECK(messages<net::Ack>(out).size() == 1);
  core.on_tick(2, out);
  CHECK(messages<net::Hello>(out).size() == 1);
}

TEST_CASE("NodeCore: a refusal stops it with status 1 and the reason") {
  NodeCore core(options());
  NodeOutbox out;
  core.on_start(0, out);
  // The one before may have crashed a moment ago: it is given time to be found dead.
  for (std::int64_t now_us = 0; now_us < 7 * second; now_us += second) {
    deliver(core, now_us, net::Refusal{"another daemon with this key is running"}, out);
    CHECK_FALSE(std::holds_alternative<daemon::Stop>(out.back()));
    out.clear();
    core.on_tick(now_us + second, out);
    CHECK(messages<net::Hello>(out).size() == 1);
  }
  deliver(core, 7 * second, net::Refusal{"another daemon with this key is running"}, out);
  const auto* stop = std::get_if<daemon::Stop>(&out.back());
  REQUIRE(stop);
  CHECK(stop->status == 1);
  CHECK_THAT(stop->reason, Catch::Contains("another daemon with this key"));
}

TEST_CASE("NodeCore: a final refusal stops it at once") {
  NodeCore core(options());
  NodeOutbox out;
  core.on_start(0, out);
  deliver(core, 0, welcome(1, 7, 1), out);
  out.clear();
  deliver(core, 1, net::Refusal{"key 01 was revoked", true}, out);
  const auto* stop = std::get_if<daemon::Stop>(&out.back());
  REQUIRE(stop);
  CHECK(stop->status == 1);
  CHECK(stop->reason == "the scheduler refuses this node: key 01 was revoked");
}

TEST_CASE("NodeCore: answers probes of guests and nodes with as much as they ask for, within bounds") {
  NodeCore core(options());
  NodeOutbox out;
  core.on_start(0, out);
  deliver(core, 0, welcome(1, 7, 1), out);
  deliver(core, 1, net::Guests{1, {{JobFixture::node(9), "guest:1"}}}, out, 2);
  const auto probe = [&](int from, std::uint32_t reply_bytes) {
    out.clear();
    core.on_message(2, JobFixture::node(from), net::Channel::data, {3, 0, net::Probe{5, reply_bytes, {}}},
                    out);
    return messages<net::ProbeReply>(out);
  };
  const auto replies = probe(9, 1000);
  REQUIRE(replies.size() == 1);
  CHECK(replies[0].number == 5);
  CHECK(replies[0].tensor.payload.size() == 1000);
  CHECK(probe(9, 0).size() == 1);
  CHECK(probe(9, (1 << 16) + 1).empty());
  CHECK(probe(8, 10).empty());  // a stranger
  deliver(
      core, 2,
      net::ViewUpdate{1, {2, {{JobFixture::node(1), 11, "a", "h:1"}, {JobFixture::node(2), 12, "b", "h:2"}}}},
      out, 3);
  CHECK(probe(2, 10).size() == 1);
}

TEST_CASE("NodeCore: control messages of others than the scheduler are dropped and named") {
  NodeCore core(options());
  NodeOutbox out;
  core.on_start(0, out);
  out.clear();
  core.on_message(0, JobFixture::node(9), net::Channel::control, {1, 4, net::EndJob{"job-1", ""}}, out);
  CHECK(logs(out, "dropped EndJob from 0900"));
  CHECK(messages<net::Ack>(out).empty());
}

TEST_CASE(
    "NodeCore: guests are let in as listed, an overtaken list or another scheduler's counts for nothing") {
  NodeCore core(options());
  NodeOutbox out;
  core.on_start(0, out);
  const net::NodeKey guest = JobFixture::node(210);
  const net::Guest entry{guest, "guest:1"};
  const auto guests_set = [&] {
    std::vector<net::Guest> last;
    for (const auto& action : out)
      if (const auto* peers = std::get_if<daemon::SetPeers>(&action)) last = peers->guests;
    return last;
  };
  out.clear();
  deliver(core, 0, net::Guests{1, {entry}}, out, 2);
  CHECK(out.empty());  // no member yet: the scheduler repeats it
  deliver(core, 0, welcome(1, 7, 1), out);
  out.clear();
  deliver(core, 1, net::Guests{3, {entry}}, out, 3);
  CHECK(messages<net::Ack>(out).size() == 1);
  CHECK(guests_set() == std::vector{entry});
  out.clear();
  deliver(core, 2, net::Guests{2, {}}, out, 4);
  CHECK(messages<net::Ack>(out).size() == 1);
  for (const auto& action : out) CHECK_FALSE(std::holds_alternative<daemon::SetPeers>(action));
  // A new view keeps them.
  deliver(core, 3, net::ViewUpdate{1, welcome(1, 7, 2).view}, out, 5);
  CHECK(guests_set() == std::vector{entry});
  out.clear();
  core.on_message(4, guest, net::Channel::data, {9, 1, net::Commit{{"job-1", 1, 1, 1}, 1, 1, false, false}},
                  out);
  CHECK(logs(out, "dropped Commit from guest " + guest.short_name() + ": not for guests"));
  CHECK(messages<net::Ack>(out).empty());
  out.clear();
  deliver(core, 5, net::Guests{4, {}}, out, 6);
  REQUIRE_FALSE(out.empty());
  CHECK(guests_set().empty());
}

TEST_CASE("NodeCore: a guest's request for a slice is answered to its run, and a repeat waits its turn") {
  NodeCore core(options());
  NodeOutbox out;
  core.on_start(0, out);
  deliver(core, 0, welcome(1, 7, 1), out);
  const net::NodeKey guest = JobFixture::node(210);
  deliver(core, 0, net::Guests{1, {{guest, ""}}}, out, 2);
  out.clear();
  const net::SliceRequest request{"old-1", 40, 2, net::SnapshotPart::weights, 8, 2};
  core.on_message(1, guest, net::Channel::data, {9, 0, request}, out);
  core.on_message(1, guest, net::Channel::data, {9, 0, request}, out);
  REQUIRE(out.size() == 1);
  const auto* start = std::get_if<daemon::StartTask>(&out[0]);
  REQUIRE(start);
  REQUIRE(std::get_if<daemon::ReadSlice>(&start->task));
  CHECK(std::get<daemon::ReadSlice>(start->task).request == request);
  daemon::Completion done;
  done.id = start->id;
  SECTION("a slice that is there") { done.tensor = JobFixture::floats({1, 2}); }
  SECTION("one that is not") { done.problem = "not here"; }
  out.clear();
  core.on_completion(2, done, out);
  REQUIRE(out.size() == 1);
  const auto* send = std::get_if<net::Send>(&out[0]);
  REQUIRE(send);
  CHECK(send->peer == guest);
  CHECK(send->channel == net::Channel::data);
  CHECK(send->only_boot == net::BootId{9});
  CHECK(send->envelope.id == 0);
  const net::Slice& slice = std::get<net::Slice>(send->envelope.message);
  CHECK(slice.begin == 8);
  CHECK(slice.commit == 40);
  CHECK(slice.problem == done.problem);
  CHECK(slice.tensor.shape == std::vector<std::int64_t>{done.problem.empty() ? 2 : 0});
  // Asked again, it is read again.
  out.clear();
  core.on_message(3, guest, net::Channel::data, {9, 0, request}, out);
  CHECK(out.size() == 1);
}

TEST_CASE("NodeCore: too large a slice is refused, and too many requests at once are left to their repeats") {
  NodeCore core(options());
  NodeOutbox out;
  core.on_start(0, out);
  deliver(core, 0, welcome(1, 7, 1), out);
  out.clear();
  const net::NodeKey peer = JobFixture::node(2);
  net::SliceRequest request{"old-1", 40, 2, net::SnapshotPart::weights, 0, std::uint64_t{1} << 40};
  core.on_message(1, peer, net::Channel::data, {9, 0, request}, out);
  const auto refused = messages<net::Slice>(out);
  REQUIRE(refused.size() == 1);
  CHECK_THAT(refused[0].problem, Catch::Contains("too large"));
  out.clear();
  std::size_t answered = 0;
  for (request.begin = 0, request.elements = 1; request.begin < 1'000; ++request.begin)
    core.on_message(1, peer, net::Channel::data, {9, 0, request}, out);
  while (!out.empty()) {
    const auto* start = std::get_if<daemon::StartTask>(&out.front());
    daemon::Completion done;
    if (start) done.id = start->id;
    const bool task = start != nullptr;
    out.erase(out.begin());
    if (!task) continue;
    ++answered;
    done.problem = "not here";
    core.on_completion(2, done, out);
  }
  CHECK(answered == 64);
}

TEST_CASE("NodeCore: TakeSnapshot of a job that this node does not lead is dropped and named") {
  NodeCore core(options());
  NodeOutbox out;
  core.on_start(0, out);
  deliver(core, 0, net::TakeSnapshot{"job-1"}, out, 3);
  CHECK(messages<net::Ack>(out).empty());  // no member yet
  deliver(core, 0, welcome(1, 7, 1), out);
  out.clear();
  deliver(core, 0, net::TakeSnapshot{"job-1"}, out, 3);
  CHECK(messages<net::Ack>(out).size() == 1);
  CHECK(logs(out, "dropped TakeSnapshot of job job-1"));
}

TEST_CASE("NodeCore: a plan that cannot be read is a fault that names the problem") {
  NodeCore core(options());
  NodeOutbox out;
  core.on_start(0, out);
  deliver(core, 0, welcome(1, 7, 1), out);
  out.clear();
  deliver(core, 0, net::StartJob{"job-1", nlohmann::json::object(), nlohmann::json::object(), {}}, out, 3);
  const auto faults = messages<net::JobFault>(out);
  REQUIRE(faults.size() == 1);
  CHECK(faults[0].scope.job == "job-1");
  CHECK_FALSE(faults[0].reason.empty());
}

TEST_CASE("NodeCore: SIGTERM says goodbye and stops with status 0") {
  NodeCore core(options());
  NodeOutbox out;
  core.on_start(0, out);
  deliver(core, 0, welcome(1, 7, 1), out);
  out.clear();
  core.on_stop(1, "SIGTERM", 0, out);
  CHECK(messages<net::Goodbye>(out).size() == 1);
  const auto* stop = std::get_if<daemon::Stop>(&out.back());
  REQUIRE(stop);
  CHECK(stop->status == 0);
}

TEST_CASE("NodeCore: without a job SIGTERM is not waited out, whatever the grace period") {
  NodeCore core(options());
  NodeOutbox out;
  core.on_start(0, out);
  deliver(core, 0, welcome(1, 7, 1), out);
  out.clear();
  core.on_stop(1, "SIGTERM", 30 * second, out);
  CHECK(messages<net::Goodbye>(out).size() == 1);
  CHECK(std::holds_alternative<daemon::Stop>(out.back()));
}

TEST_CASE("NodeCore: log lines reach the scheduler in numbered batches") {
  NodeCore core(options());
  NodeOutbox out;
  core.on_start(0, out);
  deliver(core, 0, welcome(1, 7, 1), out);
  out.clear();
  core.on_note(0, net::LogLevel::warning, "first", out);
  core.on_tick(1, out);
  core.on_note(2, net::LogLevel::warning, "second", out);
  core.on_tick(3, out);
  const auto batches = messages<net::LogBatch>(out);
  REQUIRE(batches.size() == 2);
  CHECK(batches[0].first == 1);
  CHECK(batches[0].lines.back().text == "first");
  CHECK(batches[1].first == batches[0].first + batches[0].lines.size());
}

TEST_CASE("TaskDesk: one task at a time, in order, and an abandoned one only frees the desk") {
  daemon::TaskDesk desk;
  NodeOutbox out;
  std::vector<int> done;
  const auto completed = [&](std::size_t started) {
    daemon::Completion completion;
    completion.id = std::get<daemon::StartTask>(out[started]).id;
    return completion;
  };
  const auto note = [&](int number) {
    return [&done, number](std::int64_t, const daemon::Completion&) { done.push_back(number); };
  };
  desk.queue(daemon::DropJob{}, note(1), out);
  desk.queue(daemon::DropJob{}, note(2), out);
  REQUIRE(out.size() == 1);
  desk.on_completion(0, completed(0), out);
  CHECK(done == std::vector<int>{1});
  REQUIRE(out.size() == 2);
  desk.abandon();
  CHECK_FALSE(desk.free());
  desk.on_completion(0, completed(1), out);
  CHECK(done == std::vector<int>{1});
  CHECK(desk.free());
}
