// The tables of keys in docs/ are those of the parsers. SIDESTEP_WRITE_DOCS=1 writes them anew:
//   SIDESTEP_WRITE_DOCS=1 build/tests/sidestep_unit_tests "Docs*"
#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "daemon/cli/emulate_file.h"
#include "daemon/cli/scenario_file.h"
#include "daemon/driver/node_config.h"
#include "daemon/driver/scheduler_config.h"
#include "scheduler/job.h"
#include "scheduler/planner/instance_fields.h"

namespace {

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// The part of a page between <!-- keys --> and <!-- end of keys --> is `table`.
void check_page(const std::string& page, const std::string& table) {
  const std::string path = std::string(SIDESTEP_SOURCE_DIR) + "/docs/" + page;
  const std::string begin = "<!-- keys -->\n", end = "<!-- end of keys -->\n";
  std::string text = read_file(path);
  const std::size_t first = text.find(begin), last = text.find(end);
  REQUIRE(first != std::string::npos);
  REQUIRE(last != std::string::npos);
  const std::size_t from = first + begin.size();
  if (std::getenv("SIDESTEP_WRITE_DOCS") != nullptr) {
    text.replace(from, last - from, table);
    std::ofstream(path, std::ios::binary) << text;
    return;
  }
  CHECK(text.substr(from, last - from) == table);
}

}  // namespace

TEST_CASE("Docs list the keys of a job as the parser knows them") {
  check_page("job.md", sidestep::scheduler::job_keys_markdown());
}

TEST_CASE("Docs list the keys of a node's config as the parser knows them") {
  sidestep::driver::NodeConfig config;
  check_page("node-config.md", sidestep::driver::node_config_table(config).markdown());
}

TEST_CASE("Docs list the keys of a scheduler's config as the parser knows them") {
  sidestep::driver::SchedulerConfig config;
  check_page("scheduler-config.md", sidestep::driver::scheduler_config_table(config).markdown());
}

TEST_CASE("Docs list the keys of an instance as the parser knows them") {
  check_page("planning.md", sidestep::scheduler::instance_keys_markdown());
}

TEST_CASE("Docs list the keys of a table to emulate as the parser knows them") {
  check_page("emulate.md", sidestep::cli::emulate_keys_markdown());
}

TEST_CASE("Docs list the keys of a scenario as the parser knows them") {
  check_page("simulate.md", sidestep::cli::scenario_keys_markdown());
}
