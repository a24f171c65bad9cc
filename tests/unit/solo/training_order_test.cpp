#include "daemon/solo/training_order.h"

#include <catch2/catch.hpp>

using namespace sidestep;
using namespace sidestep::daemon;
using net::Added;
using net::Hop;
using net::NodeKey;
using scheduler::RecordReplica;
using scheduler::RecordStep;

namespace {

NodeKey node(std::uint8_t number) {
  NodeKey key;
  key.bytes[0] = number;
  return key;
}

const NodeKey a = node(0xa0);  // stage 0
const NodeKey b = node(0xb0);  // stage 1
const NodeKey c = node(0xc0);  // stage 1, the other replica

const std::map<NodeKey, std::vector<std::uint32_t>> places{{a, {0}}, {b, {1}}, {c, {1}}};

Added head(std::uint32_t microbatch, std::uint32_t attempt = 1) { return {microbatch, attempt, true}; }
Added back(std::uint32_t microbatch, std::uint32_t attempt = 1) { return {microbatch, attempt, false}; }

// Microbatches 0 and 1 over a and b; b adds 1 before 0.
RecordStep crossed_step() {
  RecordStep step;
  step.step = 7;
  step.routes = {{0, 1, 0, {{0, a}, {1, b}}}, {1, 1, 0, {{0, a}, {1, b}}}};
  step.stages = {{0, 1, 0, {{a, 1, {head(0), head(1), back(1), back(0)}}}},
                 {1, 1, 0, {{b, 1, {back(1), back(0)}}, {c, 1, {}}}}};
  return step;
}

Move move_start(std::size_t route, bool accumulate = true) {
  return {Move::Kind::start, route, 0, accumulate};
}
Move move_back(std::size_t route, std::size_t hop, bool accumulate = true) {
  return {Move::Kind::backward, route, hop, accumulate};
}

}  // namespace

TEST_CASE("Training order respects every node's list and every microbatch's way") {
  const auto moves = order_moves(crossed_step(), places);
  REQUIRE(moves.ok());
  // b takes microbatch 1 first, so 0 waits behind it although its head was first.
  CHECK(moves.value() == std::vector<Move>{move_start(0), move_start(1), move_back(1, 1), move_back(1, 0),
                                           move_back(0, 1), move_back(0, 0)});
}

TEST_CASE("Training order: a second attempt adds only where the first has not") {
  RecordStep step = crossed_step();
  // b died after adding microbatch 0: c takes over, and a, which has added its head, passes it through.
  step.routes = {{0, 1, 0, {{0, a}, {1, b}}}, {0, 2, 0, {{0, a}, {1, c}}}};
  step.stages = {{0, 1, 0, {{a, 1, {head(0, 1), back(0, 2)}}}}, {1, 2, 0, {{c, 1, {back(0, 2)}}}}};
  const auto moves = order_moves(step, places);
  REQUIRE(moves.ok());
  // The first attempt got no further than its head: what its two hops kept is forgotten.
  CHECK(moves.value() == std::vector<Move>{move_start(0),
                                           {Move::Kind::forget, 0, 1, false},
                                           {Move::Kind::forget, 0, 0, false},
                                           move_start(1, false),
                                           move_back(1, 1),
                                           move_back(1, 0)});
}

TEST_CASE("Training order refuses what contradicts itself, by name") {
  struct Row {
    const char* name;
    void (*spoil)(RecordStep&);
    const char* message;
  };
  const Row rows[] = {
      {"orders in a ring",
       [](RecordStep& s) {
         s.stages[0].replicas[0].added = {head(0), back(0), head(1), back(1)};
       },
       "step 7, stage 0, node a000, microbatch 0: cannot be added in the order recorded: it contradicts the "
       "orders of the other nodes"},
      {"added twice", [](RecordStep& s) { s.stages[1].replicas[1].added = {back(0)}; },
       "step 7, stage 1, node c000, microbatch 0: was added, but its route does not come here"},
      {"added by both replicas",
       [](RecordStep& s) {
         s.routes.push_back({0, 2, 0, {{0, a}, {1, c}}});
         s.stages[1].replicas[1].added = {back(0, 2)};
       },
       "step 7, stage 1, node c000, microbatch 0: was added twice"},
      {"never added", [](RecordStep& s) { s.stages[1].replicas[0].added = {back(1)}; },
       "step 7, stage 1, node b000, microbatch 0: was never added"},
      {"no head",
       [](RecordStep& s) {
         s.stages[0].replicas[0].added = {head(1), back(1), back(0)};
       },
       "step 7, stage 0, node a000, microbatch 0: the head was never added"},
      {"no route", [](RecordStep& s) { s.routes.pop_back(); },
       "step 7, stage 0, node a000, microbatch 1: attempt 1 was added, but has no route"},
      {"a route twice", [](RecordStep& s) { s.routes.push_back(s.routes[0]); },
       "step 7, microbatch 0, attempt 1: listed twice"},
      {"a route from stage 1",
       [](RecordStep& s) {
         s.routes[0].hops = {{1, b}};
       },
       "step 7, microbatch 0, attempt 1: the route does not begin at stage 0"},
      {"a route over a stranger", [](RecordStep& s) { s.routes[0].hops[1].node = a; },
       "step 7, stage 1, node a000, microbatch 0: the node does not hold this stage"},
      {"a stage twice",
       [](RecordStep& s) {
         s.routes[0].hops.push_back({1, c});
       },
       "step 7, stage 1, node c000, microbatch 0: the route visits the stage twice"},
  };
  for (const Row& row : rows) {
    DYNAMIC_SECTION(row.name) {
      RecordStep step = crossed_step();
      row.spoil(step);
      const auto moves = order_moves(step, places);
      REQUIRE_FALSE(moves.ok());
      CHECK(moves.status().message() == row.message);
    }
  }
}
