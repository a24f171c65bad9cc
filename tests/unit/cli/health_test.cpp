// The sign of life that schedulers and daemons give to health checks.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "daemon/driver/health.h"
#include "net/clock.h"

namespace sidestep {
namespace {

using net::second;
constexpr std::int64_t noon = 1'700'000'000 * second;

// A data folder of this test alone, gone at its end.
class Folder {
 public:
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string path() const { return path_; }
  std::string file() const { return path_ + "/health"; }

 private:
  static inline int count_ = 0;
  std::string path_ =
      "/tmp/sidestep-health-test." + std::to_string(getpid()) + "." + std::to_string(++count_);
};

std::string problem(const std::string& folder, std::int64_t wall_us) {
  const auto health = driver::read_health(folder, wall_us);
  return health.ok() ? "" : health.status().message();
}

}  // namespace

TEST_CASE("Health: a process is alive until it has been silent for ten seconds") {
  const Folder folder;
  driver::HealthFile file;
  REQUIRE(file.open(folder.path()).ok());
  file.beat(0, noon, "attic: in touch");
  CHECK_FALSE(file.due(second / 2));
  CHECK(file.due(second));
  CHECK(driver::read_health(folder.path(), noon + 10 * second).value() == "attic: in touch");
  CHECK(problem(folder.path(), noon + 12'340'000) ==
        folder.file() + ": silent for 12.3 s, limit 10.0 s; said last: attic: in touch");
}

TEST_CASE("Health: a shorter state leaves nothing of a longer one, an endless one is cut") {
  const Folder folder;
  driver::HealthFile file;
  REQUIRE(file.open(folder.path()).ok());
  file.beat(0, noon, std::string(5000, 'x'));
  CHECK(driver::read_health(folder.path(), noon).value() == std::string(256, 'x'));
  file.beat(second, noon, "short");
  CHECK(driver::read_health(folder.path(), noon).value() == "short");
}

TEST_CASE("Health: no file when the process has ended, or never was") {
  const Folder folder;
  {
    driver::HealthFile file;
    REQUIRE(file.open(folder.path()).ok());
    file.beat(0, noon, "here");
  }
  CHECK(problem(folder.path(), noon) ==
        folder.file() + ": No such file or directory; nothing runs with this data folder");
}

TEST_CASE("Health: a file of something else is refused") {
  const Folder folder;
  std::filesystem::create_directories(folder.path());
  for (const char* text : {"", "{", "[]", R"({"wall_us": "now", "state": ""})", R"({"wall_us": 1})"}) {
    std::ofstream(folder.file()) << text;
    CHECK(problem(folder.path(), noon) == folder.file() + ": not a health file");
  }
}

}  // namespace sidestep
