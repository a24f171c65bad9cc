#include "net/strangers.h"

#include <catch2/catch.hpp>
#include <set>
#include <vector>

#include "tests/unit/net/keys.h"

using namespace sidestep::net;
using testing::key;

namespace {

struct Case {
  Strangers strangers;
  std::set<NodeKey> known;
  std::vector<std::string> told;
  void at(std::int64_t now_us) {
    strangers.tell_due(
        now_us, [&](const NodeKey& one) { return known.contains(one); },
        [&](const std::string& what) { told.push_back(what); });
  }
};

}  // namespace

TEST_CASE("Strangers: who becomes known in time is not told of, who stays unknown is") {
  Case c;
  CHECK_FALSE(c.strangers.due_us());
  REQUIRE(c.strangers.add(0, key(1), "one"));
  REQUIRE(c.strangers.add(500'000, key(2), "two"));
  CHECK(c.strangers.due_us() == Strangers::patience_us);
  c.at(Strangers::patience_us - 1);
  CHECK(c.told.empty());
  c.known = {key(1)};
  c.at(Strangers::patience_us + 500'000);
  CHECK(c.told == std::vector<std::string>{"two"});
  CHECK_FALSE(c.strangers.due_us());
}

TEST_CASE("Strangers: one that goes on trying is noted once at a time") {
  Case c;
  for (int i = 0; i < 10; ++i) REQUIRE(c.strangers.add(i * 100'000, key(1), "one"));
  c.at(Strangers::patience_us);
  REQUIRE(c.strangers.add(3'000'000, key(1), "one again"));
  c.at(3'000'000 + Strangers::patience_us);
  CHECK(c.told == std::vector<std::string>{"one", "one again"});
}

TEST_CASE("Strangers: a flood of keys takes no memory") {
  Case c;
  int noted = 0;
  for (int i = 0; i < 200; ++i) noted += c.strangers.add(0, key(i), "x") ? 1 : 0;
  CHECK(noted == 64);
}
