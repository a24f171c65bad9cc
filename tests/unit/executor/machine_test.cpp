#include "daemon/executor/machine.h"

#include <filesystem>
#include <vector>

#include "daemon/data/mapped_file.h"
#include "tests/unit/data/temporary_folder.h"
#include "tests/unit/torch/catch.h"

namespace sidestep::daemon {

using testing::TemporaryFolder;

TEST_CASE("Memory held: a mapped file that was read counts nothing, memory written to does") {
  constexpr std::size_t size = 200 << 20, page = 4096, slack = 20 << 20;
  const TemporaryFolder folder;
  testing::write_bytes(folder.path("data"), "");
  std::filesystem::resize_file(folder.path("data"), size);
  const std::uint64_t before = resident_bytes();
  REQUIRE(before > 0);

  const auto file = MappedFile::open(folder.path("data"));
  REQUIRE(file.ok());
  std::size_t sum = 0;
  for (std::size_t i = 0; i < size; i += page) sum += static_cast<std::size_t>(file.value()->bytes()[i]);
  CHECK(sum == 0);
  CHECK(resident_bytes() < before + slack);

  const std::vector<char> written(size, 'x');
  CHECK(resident_bytes() > before + size - slack);
  CHECK(written.back() == 'x');
}

TEST_CASE("Machine has a device class and a memory limit") {
  CHECK_THAT(cpu_class(), Catch::StartsWith("cpu-"));
  CHECK(memory_limit_bytes() > 0);
}

}  // namespace sidestep::daemon
