#include "daemon/simulator/time_split.h"

#include <catch2/catch.hpp>
#include <numeric>

using namespace sidestep::sim;

namespace {

std::int64_t of(const TimeSplit& split, Share share) {
  return split.shares()[static_cast<std::size_t>(share)];
}

std::int64_t sum(const TimeSplit& split) {
  return std::accumulate(split.shares().begin(), split.shares().end(), std::int64_t{0});
}

void work(TimeSplit& split, std::size_t node, std::int64_t from_us, std::int64_t to_us,
          Work kind = Work::training) {
  split.on_begin(from_us, node, kind);
  split.on_end(to_us, node);
}

}  // namespace

TEST_CASE("Time split: a step of work, a wait for a message, idle time, averaging") {
  TimeSplit split;
  split.on_plan(0, {0});
  work(split, 0, 0, 100);
  split.on_sent(110, 0, 150);  // 10 idle, 40 on its way
  work(split, 0, 160, 200);    // 10 idle
  work(split, 0, 230, 240, Work::averaging);
  split.on_update(300, 0);
  split.finish(300, Share::useful);
  CHECK(of(split, Share::useful) == 140);
  CHECK(of(split, Share::transfer) == 40);
  CHECK(of(split, Share::bubble) == 20);
  CHECK(of(split, Share::average) == 100);
  CHECK(sum(split) == 300);
}

TEST_CASE("Time split: a death costs detection, a new plan and the step under way") {
  TimeSplit split;
  split.on_plan(0, {0, 1});
  split.on_begin(0, 0, Work::training);
  split.on_begin(0, 1, Work::training);
  split.on_death(50, 1);  // its 50 are lost
  split.on_end(80, 0);
  split.on_declared(200, 1);
  split.on_plan(220, {0});
  split.on_abandon(230, 0);
  work(split, 0, 260, 360);
  split.on_update(360, 0);
  split.finish(360, Share::useful);
  CHECK(of(split, Share::redo) == 130);
  CHECK(of(split, Share::detect) == 120);
  CHECK(of(split, Share::replan) == 60);
  CHECK(of(split, Share::useful) == 100);
  CHECK(sum(split) == 360 + 50);
}

TEST_CASE("Time split: who holds no stage does not count") {
  TimeSplit split;
  split.on_plan(0, {0});
  work(split, 1, 0, 100);
  split.on_death(100, 1);
  split.finish(200, Share::redo);
  CHECK(sum(split) == 200);
  CHECK(of(split, Share::bubble) == 200);
}

TEST_CASE("Time split: others wait for a node that is silent, until it is heard again") {
  TimeSplit split;
  split.on_plan(0, {0, 1});
  work(split, 0, 0, 100);
  work(split, 1, 0, 100);
  split.on_silent(150, 1);
  split.on_heard(250, 1);
  split.finish(300, Share::useful);
  CHECK(of(split, Share::useful) == 200);
  CHECK(of(split, Share::detect) == 200);  // both, 100 each
  CHECK(of(split, Share::bubble) == 200);
  CHECK(sum(split) == 600);
}

TEST_CASE("Time split: a node that lives and is declared dead costs a plan too") {
  TimeSplit split;
  split.on_plan(0, {0, 1});
  split.on_silent(0, 1);
  split.on_declared(100, 1);
  split.on_plan(130, {0});
  split.on_heard(140, 1);  // too late
  work(split, 0, 150, 200);
  split.on_update(200, 0);
  split.finish(200, Share::useful);
  CHECK(of(split, Share::detect) == 200);
  CHECK(of(split, Share::replan) == 2 * 30 + 20);
  CHECK(of(split, Share::useful) == 50);
  CHECK(sum(split) == 200 + 130);
}
