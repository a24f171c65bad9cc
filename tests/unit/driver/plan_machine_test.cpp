// Threads for the planner: every job once, exceptions come out.
#include "daemon/driver/plan_machine.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <stdexcept>
#include <vector>

namespace sidestep::driver {

TEST_CASE("Plan machine: every job runs once, with any number of threads") {
  for (const std::size_t threads : {0, 1, 2, 7})
    for (const std::size_t count : {0, 1, 3, 100}) {
      const auto machine = plan_machine(threads);
      std::vector<std::atomic<int>> runs(count);
      machine.run_all(count, [&](std::size_t i) { ++runs[i]; });
      for (const auto& times : runs) CHECK(times == 1);
    }
}

TEST_CASE("Plan machine: jobs run beside each other") {
  // Each waits for the other, so that one thread would never end.
  std::atomic<int> here{0};
  plan_machine(2).run_all(2, [&](std::size_t) {
    ++here;
    here.notify_all();
    for (int seen = here; seen < 2; seen = here) here.wait(seen);
  });
  CHECK(here == 2);
}

TEST_CASE("Plan machine: an exception comes out after all jobs") {
  std::atomic<int> runs{0};
  CHECK_THROWS_WITH(plan_machine(3).run_all(20,
                                            [&](std::size_t i) {
                                              ++runs;
                                              if (i == 4) throw std::runtime_error("four");
                                            }),
                    "four");
  CHECK(runs == 20);
}

TEST_CASE("Plan machine: its clock does not go back") {
  const auto machine = plan_machine(1);
  const auto first = machine.now_us();
  CHECK(machine.now_us() >= first);
}

}  // namespace sidestep::driver
