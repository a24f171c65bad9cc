#include "net/drop_log.h"

#include <catch2/catch.hpp>
#include <vector>

using namespace sidestep::net;

TEST_CASE("Drop log: one line a second for each kind, with the number left out") {
  DropLog log;
  std::vector<std::string> lines;
  log.set_output([&](const std::string& line) { lines.push_back(line); });
  for (std::int64_t i = 0; i < 100; ++i) log.add(i * 1'000, "queue", "queue full");
  log.add(99'000, "other", "something else");
  CHECK(lines == std::vector<std::string>{"queue full", "something else"});
  log.add(1'000'000, "queue", "queue full");
  CHECK(lines.back() == "queue full (and 99 more like this)");
  log.add(2'500'000, "queue", "queue full");
  CHECK(lines.back() == "queue full");
  CHECK(log.total() == 103);
}
