#include "scheduler/dealing.h"

#include <catch2/catch.hpp>

using sidestep::scheduler::deal_out;
using Order = std::vector<std::size_t>;

TEST_CASE("Dealing: equal nodes take turns, a faster one comes more often") {
  CHECK(deal_out({1, 1}, 4) == Order{0, 1, 0, 1});
  CHECK(deal_out({1, 2}, 6) == Order{1, 0, 1, 1, 0, 1});
}

TEST_CASE("Dealing: a very slow node gets one where there are enough") {
  CHECK(deal_out({1, 1e-6}, 3) == Order{0, 1, 0});
  CHECK(deal_out({1, 1e-6, 2}, 2) == Order{0, 2});
  CHECK(deal_out({3}, 2) == Order{0, 0});
  CHECK(deal_out({1, 1}, 0).empty());
}
