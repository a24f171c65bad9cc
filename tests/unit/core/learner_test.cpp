#include "daemon/core/learner.h"

#include <catch2/catch.hpp>

#include "tests/unit/core/job_fixture.h"

using namespace sidestep;
using daemon::Completion;
using daemon::Learner;
using test::JobFixture;

namespace {

constexpr std::uint64_t elements = 6;

// Node 3 learns stage 1, which nodes 1 and 2 hold; commit 4 is the one whose state it is given.
struct Fixture {
  Fixture() : job(3, {{1, 2}, {1, 2}, {3}}, 4) {
    job.context.plan.learners[JobFixture::node(3)] = {1};
    job.context.step = 5;
    begin(elements);
  }

  void begin(std::uint64_t length) {
    Learner::Ports ports;
    ports.ask = [this](const net::NodeKey& to, const net::SliceRequest& request) {
      asked.emplace_back(to, request);
    };
    ports.fail = [this](std::int64_t, const std::string& why) { failures.push_back(why); };
    learner.emplace(job.context, 1, length, daemon::LessonBegin{job.context.plan.epoch, std::nullopt}, ports);
  }

  net::StateOffer offer(const std::string& name = "d") const {
    return {job.context.scope_of(4), 1, 1, elements, 3, 0.5, 1, {name + "0", name + "1", name + "2"}, ""};
  }

  // Answers everything that was asked for.
  void answer() {
    for (const auto& [to, request] : std::exchange(asked, {})) {
      net::Slice slice{request.job,
                       request.commit,
                       request.stage,
                       request.part,
                       request.begin,
                       "",
                       JobFixture::floats(std::vector<float>(request.elements, 1.5f))};
      learner->on_slice(0, to, slice);
    }
  }

  // Ends the tasks that are queued; the parts have these digests.
  void finish_tasks(const std::string& name = "d") {
    for (auto& [task, done] : std::exchange(job.queued, {})) {
      Completion completion;
      if (std::holds_alternative<daemon::FinishState>(task))
        completion.digests = {name + "0", name + "1", name + "2"};
      tasks.push_back(task);
      done(0, completion);
    }
  }

  void load() {
    learner->on_offer(0, JobFixture::node(1), offer());
    learner->on_offer(0, JobFixture::node(2), offer());
    answer();
    finish_tasks();
    finish_tasks();
  }

  // The averages of a step, two chunks of four elements at most, each from its owner.
  std::vector<net::AverageChunk> average(std::uint64_t step) const {
    const daemon::ChunkCut cut = job.context.cut_of(1, elements);
    std::vector<net::AverageChunk> chunks;
    for (std::uint32_t chunk = 0; chunk < cut.count(); ++chunk)
      chunks.push_back({job.context.scope_of(step), 1, 1, net::AveragePhase::gather, chunk, 4,
                        JobFixture::floats(std::vector<float>(cut.length(chunk), 2.0f))});
    return chunks;
  }
  void give_average(std::uint64_t step) {
    const daemon::ChunkCut cut = job.context.cut_of(1, elements);
    for (const net::AverageChunk& chunk : average(step)) learner->on_chunk(0, cut.owner(chunk.chunk), chunk);
  }
  void commit(bool skip_update = false) {
    learner->on_commit(0, skip_update);
    ++job.context.step;
  }

  template <class T>
  std::size_t count() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(tasks, [](const auto& task) { return std::holds_alternative<T>(task); }));
  }

  JobFixture job;
  std::optional<Learner> learner;
  std::vector<std::pair<net::NodeKey, net::SliceRequest>> asked;
  std::vector<daemon::Task> tasks;
  std::vector<std::string> failures;
};

}  // namespace

TEST_CASE("Learner: pulls each part from another replica and is level when all is stored") {
  Fixture test;
  test.learner->on_offer(0, JobFixture::node(1), test.offer());
  CHECK(test.asked.empty());  // the other replica's offer may come
  test.learner->on_offer(0, JobFixture::node(2), test.offer());
  REQUIRE(test.asked.size() == 3);
  CHECK(test.asked[0].first == JobFixture::node(1));
  CHECK(test.asked[1].first == JobFixture::node(2));
  CHECK(test.asked[0].second.commit == 4);
  CHECK_FALSE(test.learner->level());
  test.answer();
  test.finish_tasks();
  CHECK(test.count<daemon::StoreState>() == 3);
  CHECK_FALSE(test.learner->level());
  test.finish_tasks();
  REQUIRE(test.count<daemon::FinishState>() == 1);
  CHECK(test.learner->level());
  CHECK(test.job.faults.empty());
}

TEST_CASE("Learner: begins with the offers that are there after a while") {
  Fixture test;
  test.learner->on_offer(0, JobFixture::node(1), test.offer());
  test.learner->on_tick(500'000);
  CHECK(test.asked.empty());
  test.learner->on_tick(1'000'000);
  CHECK(test.asked.size() == 3);
}

TEST_CASE("Learner: updates made while the state was on its way follow in order") {
  Fixture test;
  test.give_average(5);
  test.commit();
  test.commit(true);  // step 6 made no update
  test.give_average(7);
  test.load();
  // Steps 5 and 6; of step 7 nobody knows yet whether it is committed.
  test.finish_tasks();
  test.finish_tasks();
  REQUIRE(test.count<daemon::CatchUp>() == 2);
  CHECK(test.learner->level());
  test.commit();
  CHECK_FALSE(test.learner->level());
  test.finish_tasks();
  REQUIRE(test.count<daemon::CatchUp>() == 3);
  std::vector<std::uint64_t> steps, parts;
  for (const auto& task : test.tasks)
    if (const auto* made = std::get_if<daemon::CatchUp>(&task)) {
      steps.push_back(made->step);
      parts.push_back(made->average.size());
    }
  CHECK(steps == std::vector<std::uint64_t>{5, 6, 7});
  CHECK(parts == std::vector<std::uint64_t>{2, 0, 2});
  CHECK(test.learner->level());
}

TEST_CASE("Learner: bytes that are not those that were offered are pulled again from the next replica") {
  Fixture test;
  test.learner->on_offer(0, JobFixture::node(1), test.offer());
  test.learner->on_offer(0, JobFixture::node(2), test.offer());
  test.answer();
  test.finish_tasks();
  test.finish_tasks("x");
  CHECK_FALSE(test.learner->level());
  REQUIRE(test.asked.size() == 3);
  CHECK(test.asked[0].first == JobFixture::node(2));
  test.answer();
  test.finish_tasks();
  test.finish_tasks();
  CHECK(test.learner->level());
}

TEST_CASE("Learner: without any replica that can give the state it fails with the reason") {
  Fixture test;
  net::StateOffer poor = test.offer();
  poor.problem = "no memory";
  test.learner->on_offer(0, JobFixture::node(1), poor);
  CHECK_FALSE(test.learner->base());  // nothing is pulled from that one
  test.learner->on_offer(0, JobFixture::node(2), poor);
  REQUIRE(test.failures.size() == 1);
  CHECK(test.failures[0] == "no replica can give its state");
  CHECK(test.job.faults.empty());  // what else the node holds is not concerned
}

TEST_CASE("Learner: garbage from peers is logged and dropped") {
  Fixture test;
  net::StateOffer other = test.offer();
  other.elements = 7;
  test.learner->on_offer(0, JobFixture::node(1), other);
  test.learner->on_offer(0, JobFixture::node(3), test.offer());
  other = test.offer();
  ++other.scope.epoch;  // of another plan than the one that has this node learn
  test.learner->on_offer(0, JobFixture::node(1), other);
  other = test.offer();
  other.scope.step = 1'000'000;  // past the job's last
  test.learner->on_offer(0, JobFixture::node(1), other);
  other = test.offer();
  other.updates = 5;  // more than steps
  test.learner->on_offer(0, JobFixture::node(1), other);
  CHECK(test.job.lines.size() == 5);
  CHECK_FALSE(test.learner->base());
  test.load();
  auto chunks = test.average(5);
  const daemon::ChunkCut cut = test.job.context.cut_of(1, elements);
  chunks[0].visits = 9;
  test.learner->on_chunk(0, cut.owner(0), chunks[0]);
  test.learner->on_chunk(0, cut.owner(0), chunks[1]);
  chunks[1].phase = net::AveragePhase::reduce;
  test.learner->on_chunk(0, cut.owner(1), chunks[1]);
  CHECK(test.job.lines.size() == 9);  // "has the state" among them
  test.commit();
  test.finish_tasks();
  CHECK(test.count<daemon::CatchUp>() == 0);
}

TEST_CASE("Learner: whoever cannot keep up gives up when 2 GiB of averages wait") {
  Fixture test;
  test.begin(1ull << 26);  // an average of 256 MiB
  for (int i = 0; i < 8; ++i) test.commit();
  CHECK(test.failures.empty());
  test.commit();
  REQUIRE(test.failures.size() == 1);
  CHECK(test.failures[0] == "9 steps were committed before its state was here");
}
