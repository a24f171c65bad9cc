#include "daemon/executor/executor.h"

#include <catch2/catch.hpp>
#include <future>
#include <vector>

namespace sidestep::daemon {
namespace {

// Tells the order of tasks; a task of step 0 waits until the test lets it go.
class FakeRunner : public TaskRunner {
 public:
  FakeRunner(std::shared_future<void> gate, std::promise<void>* started)
      : gate_(std::move(gate)), started_(started) {}

  Completion run(TaskId id, const Task& task) override {
    if (const auto* update = std::get_if<Update>(&task); update != nullptr && update->step == 0) {
      started_->set_value();
      gate_.wait();
    }
    Completion done;
    done.id = id;
    return done;
  }

 private:
  std::shared_future<void> gate_;
  std::promise<void>* started_;
};

struct Bench {
  std::promise<void> gate;
  std::promise<void> started;
  TaskRunnerFactory factory() {
    return
        [this, future = gate.get_future().share()] { return std::make_unique<FakeRunner>(future, &started); };
  }
};

}  // namespace

TEST_CASE("Executor runs tasks in order, on a thread of its own") {
  Bench bench;
  std::vector<TaskId> seen;
  std::thread::id thread;
  std::promise<void> last;
  Executor executor(bench.factory(), [&](const Completion& done) {
    seen.push_back(done.id);
    thread = std::this_thread::get_id();
    if (done.id == 3) last.set_value();
  });
  for (TaskId id = 1; id <= 3; ++id) executor.start(id, Update{1, {}});
  last.get_future().wait();
  CHECK(seen == std::vector<TaskId>{1, 2, 3});
  CHECK(thread != std::this_thread::get_id());
}

TEST_CASE("Executor: destruction waits for the running task and drops the waiting ones") {
  Bench bench;
  std::vector<TaskId> seen;
  auto executor =
      std::make_unique<Executor>(bench.factory(), [&](const Completion& done) { seen.push_back(done.id); });
  executor->start(1, Update{0, {}});
  executor->start(2, Update{1, {}});
  bench.started.get_future().wait();
  std::thread destroyer([&] { executor.reset(); });
  bench.gate.set_value();
  destroyer.join();
  REQUIRE_FALSE(seen.empty());
  CHECK(seen.front() == 1);
}

TEST_CASE("Executor says where a job's time went when the job is dropped, and begins anew") {
  Bench bench;
  std::vector<std::string> said;
  std::promise<void> last;
  Executor executor(bench.factory(), [&](const Completion& done) {
    said.push_back(done.time_use);
    if (done.id == 4) last.set_value();
  });
  executor.start(1, Forward{});
  executor.start(2, Update{1, {}});
  executor.start(3, DropJob{});
  executor.start(4, DropJob{});
  last.get_future().wait();
  CHECK(said[0].empty());
  CHECK(said[1].empty());
  CHECK_THAT(said[2], Catch::StartsWith("computed "));
  CHECK(said[3].empty());
}

}  // namespace sidestep::daemon
