#include "daemon/driver/plan_machine.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "net/clock.h"

namespace sidestep::driver {
namespace {

void run_all(std::size_t threads, std::size_t count, const std::function<void(std::size_t)>& job) {
  std::atomic<std::size_t> next{0};
  std::mutex lock;
  std::exception_ptr problem;
  const auto work = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      try {
        job(i);
      } catch (...) {
        const std::lock_guard<std::mutex> held(lock);
        if (!problem) problem = std::current_exception();
      }
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (std::size_t i = 1; i < std::min(threads, count); ++i) helpers.emplace_back(work);
    work();
  }
  if (problem) std::rethrow_exception(problem);
}

}  // namespace

scheduler::PlanMachine plan_machine(std::size_t threads) {
  if (threads == 0) threads = std::max(1u, std::thread::hardware_concurrency());
  scheduler::PlanMachine machine;
  machine.run_all = [threads](std::size_t count, const std::function<void(std::size_t)>& job) {
    run_all(threads, count, job);
  };
  machine.now_us = net::monotonic_us;
  machine.threads = threads;
  return machine;
}

}  // namespace sidestep::driver
