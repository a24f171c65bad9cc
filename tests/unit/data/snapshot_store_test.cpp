#include "daemon/data/snapshot_store.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <numeric>

#include "net/digest.h"
#include "tests/unit/data/temporary_folder.h"

namespace sidestep::daemon {
namespace {

using Catch::Contains;
using testing::TemporaryFolder;

net::Tensor weights(std::size_t count, float first = 0) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), first);
  const auto* bytes = reinterpret_cast<const std::byte*>(values.data());
  return {net::DType::float32,
          {static_cast<std::int64_t>(count)},
          net::Payload::from_bytes({bytes, bytes + count * sizeof(float)})};
}

std::vector<float> floats_of(const net::Tensor& tensor) {
  std::vector<float> values(tensor.payload.size() / sizeof(float));
  std::memcpy(values.data(), tensor.payload.data(), tensor.payload.size());
  return values;
}

net::SliceRequest slice(std::uint64_t commit, std::uint64_t begin, std::uint64_t elements) {
  return {"job-1", commit, 2, net::SnapshotPart::weights, begin, elements};
}

SavedStage save(SnapshotStore& store, const std::string& job, std::uint64_t commit, float first = 0) {
  const auto saved = store.save(job, commit, 2, weights(10, first));
  INFO(saved.status().message());
  REQUIRE(saved.ok());
  return saved.value();
}

TEST_CASE("Snapshots: a stage is saved with its digest and read in slices, after a restart too") {
  const TemporaryFolder folder;
  const net::Tensor tensor = weights(10);
  {
    SnapshotStore store(folder.path("snapshots"), 4);
    const SavedStage saved = save(store, "job-1", 40);
    CHECK(saved.elements == 10);
    CHECK(saved.digest == net::sha256({tensor.payload.data(), tensor.payload.size()}));
    CHECK(floats_of(store.read(slice(40, 3, 2)).value()) == std::vector<float>{3, 4});
  }
  SnapshotStore store(folder.path("snapshots"), 4);
  const auto whole = store.read(slice(40, 0, 10));
  REQUIRE(whole.ok());
  CHECK(whole.value().shape == tensor.shape);
  CHECK(std::memcmp(whole.value().payload.data(), tensor.payload.data(), 40) == 0);
  CHECK(store.read(slice(40, 10, 0)).ok());
}

TEST_CASE("Snapshots: what is not there is named") {
  const TemporaryFolder folder;
  SnapshotStore store(folder.path(), 4);
  save(store, "job-1", 40);
  const auto problem = [&](const net::SliceRequest& request) {
    const auto read = store.read(request);
    REQUIRE_FALSE(read.ok());
    return read.status().message();
  };
  CHECK(problem(slice(41, 0, 1)) ==
        "the snapshot of stage 2 at commit 41 of job job-1 is not here, or no longer: the states of the last "
        "\"snapshots_kept\" jobs are kept");
  CHECK_THAT(problem(slice(40, 9, 2)), Contains("has 10 elements, 2 from 9 on are not all within them"));
  CHECK_THAT(problem(slice(40, 11, 0)), Contains("has 10 elements"));
  CHECK_THAT(problem(slice(40, 1, ~std::uint64_t{0})), Contains("has 10 elements"));
  net::SliceRequest moments = slice(40, 0, 1);
  moments.part = net::SnapshotPart::first_moment;
  CHECK_THAT(problem(moments), Contains("no moments"));
  // Names come from peers.
  for (const char* name : {"../job-1", "", ".", "..", "a/b", "/etc", ".hidden", "a\nb"}) {
    net::SliceRequest odd = slice(40, 0, 1);
    odd.job = name;
    CHECK_THAT(problem(odd), Contains("cannot have snapshots"));
    CHECK_FALSE(store.save(name, 1, 0, weights(1)).ok());
  }
  CHECK_THAT(SnapshotStore("", 4).save("job-1", 1, 0, weights(1)).status().message(),
             Contains("no data folder"));
}

TEST_CASE("Snapshots: a damaged file is named, and a failed save leaves the older one") {
  const TemporaryFolder folder;
  save(*std::make_unique<SnapshotStore>(folder.path(), 4), "job-1", 40);
  SnapshotStore store(folder.path(), 4);
  const std::string path = folder.path("job-1/41");
  testing::write_bytes(path, "a file where the next commit's folder should be");
  const auto failed = store.save("job-1", 41, 2, weights(10));
  REQUIRE_FALSE(failed.ok());
  CHECK(failed.status().code() == Code::io);
  CHECK_THAT(failed.status().message(), Contains(path));
  CHECK(store.read(slice(40, 0, 10)).ok());
  // A stage that cannot be written leaves no folder, and no other stage goes with it.
  std::filesystem::create_directories(folder.path("job-1/42/stage-2.safetensors/in-the-way"));
  REQUIRE(store.save("job-1", 42, 1, weights(10)).ok());
  CHECK_FALSE(store.save("job-1", 42, 2, weights(10)).ok());
  CHECK(folder.names("job-1/42").contains("stage-1.safetensors"));
  std::filesystem::create_directories(folder.path("job-1/43/stage-2.safetensors"));
  CHECK_FALSE(store.save("job-1", 43, 2, weights(10)).ok());
  CHECK_FALSE(std::filesystem::exists(folder.path("job-1/43")));
  testing::write_bytes(folder.path("job-1/40/stage-2.safetensors"), "cut");
  SnapshotStore fresh(folder.path(), 4);
  CHECK_THAT(fresh.read(slice(40, 0, 1)).status().message(), Contains("stage-2.safetensors"));
}

TEST_CASE("Snapshots: three commits of a job stay, and the jobs that saved last") {
  const TemporaryFolder folder;
  SnapshotStore store(folder.path(), 2);
  save(store, "job-1", 8);
  const net::Tensor held = store.read(slice(8, 0, 10)).value();
  for (const std::uint64_t commit : {9, 10}) save(store, "job-1", commit, 5);
  CHECK(folder.names("job-1") == std::set<std::string>{"8", "9", "10"});
  save(store, "job-1", 11, 5);
  CHECK(folder.names("job-1") == std::set<std::string>{"9", "10", "11"});
  CHECK(floats_of(store.read(slice(10, 0, 1)).value()) == std::vector<float>{5});
  CHECK_FALSE(store.read(slice(8, 0, 1)).ok());
  // A slice on its way keeps its bytes.
  CHECK(floats_of(held).back() == 9);
  namespace fs = std::filesystem;
  const auto age = [&](const char* job, int hours) {
    fs::last_write_time(folder.path(job), fs::file_time_type::clock::now() - std::chrono::hours(hours));
  };
  age("job-1", 3);
  save(store, "job-2", 1);
  age("job-2", 2);
  CHECK(folder.names() == std::set<std::string>{"job-1", "job-2"});
  save(store, "job-3", 1);
  CHECK(folder.names() == std::set<std::string>{"job-2", "job-3"});
}

TEST_CASE("Snapshots: what was written last stays, whatever its number, and what is known to be whole") {
  using List = std::vector<std::uint64_t>;
  CHECK(commits_to_delete({9, 8, 7}, 9, 0).empty());
  CHECK(commits_to_delete({9, 8, 7, 6, 5}, 9, 0) == List{6, 5});
  CHECK(commits_to_delete({9, 8, 7, 6, 5}, 9, 5) == List{6});
  CHECK(commits_to_delete({9, 8, 7, 6, 5}, 9, 8) == List{6, 5});
  CHECK(commits_to_delete({40, 39, 38, 5}, 5, 0) == List{38});  // the clock was set back
  const TemporaryFolder folder;
  SnapshotStore store(folder.path(), 4);
  namespace fs = std::filesystem;
  for (const int commit : {40, 41, 42}) {
    save(store, "job-1", static_cast<std::uint64_t>(commit));
    fs::last_write_time(folder.path("job-1/" + std::to_string(commit)),
                        fs::file_time_type::clock::now() - std::chrono::hours(100 - commit));
  }
  // A job of the same name, by a new scheduler.
  REQUIRE(store.save("job-1", 1, 2, weights(10), 40).ok());
  CHECK(folder.names("job-1") == std::set<std::string>{"1", "40", "41", "42"});
  REQUIRE(store.save("job-1", 2, 2, weights(10)).ok());
  CHECK(folder.names("job-1") == std::set<std::string>{"1", "2", "42"});
}

}  // namespace
}  // namespace sidestep::daemon
