#include "daemon/data/checkpoint_folder.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <numeric>
#include <span>

#include "daemon/data/atomic_output.h"
#include "net/digest.h"
#include "tests/unit/data/temporary_folder.h"

namespace sidestep::daemon {
namespace {

using Catch::Contains;
using testing::TemporaryFolder;

constexpr const char* job_name = "job-1";

scheduler::JobSpec job_on(const std::string& directory, std::int64_t commit = -1, int layers = 4) {
  const nlohmann::json json{{"name", "job"},
                            {"steps", 500},
                            {"model",
                             {{"hidden_size", 4},
                              {"intermediate_size", 4},
                              {"num_hidden_layers", layers},
                              {"num_attention_heads", 2}}},
                            {"pipeline", {{"stages", 2}, {"microbatches_per_step", 2}}},
                            {"data", {{"path", "text.txt"}, {"sequence_length", 2}}},
                            {"optimizer", {{"learning_rate", 0.001}}},
                            {"resume", {{"directory", directory}, {"commit", commit}}}};
  auto job = scheduler::parse_job(json, "test");
  INFO(job.status().message());
  REQUIRE(job.ok());
  return std::move(job).value();
}

net::Tensor floats(float first) {
  std::vector<float> values(10);
  std::iota(values.begin(), values.end(), first);
  const auto* bytes = reinterpret_cast<const std::byte*>(values.data());
  return {
      net::DType::float32, {10}, net::Payload::from_bytes({bytes, bytes + values.size() * sizeof(float)})};
}

float first_of(const net::Tensor& tensor) {
  float value = 0;
  std::memcpy(&value, tensor.payload.data(), sizeof value);
  return value;
}

// Parts that only this commit and stage have.
StageState state_of(std::uint64_t commit, std::uint32_t stage) {
  const auto first = static_cast<float>(100 * commit + 10 * stage);
  return {{floats(first), floats(first + 1), floats(first + 2)}, {commit, 0.5, 1.1}};
}

std::string folder_of(const std::string& directory, std::uint64_t commit) {
  return directory + "/" + job_name + "/" + scheduler::checkpoint_folder(commit, 3);
}

scheduler::CheckpointManifest write_stages(const std::string& directory, std::uint64_t commit) {
  scheduler::CheckpointManifest manifest{
      job_name, commit, static_cast<std::int64_t>(1'000 + commit), scheduler::to_json(job_on("/none")), {}};
  for (const std::uint32_t stage : {0u, 1u}) {
    const auto written = write_checkpoint_stage(folder_of(directory, commit), stage, state_of(commit, stage));
    INFO(written.status().message());
    REQUIRE(written.ok());
    CHECK(written.value().elements == 10);
    manifest.stages.push_back(written.value());
  }
  return manifest;
}

std::string seal(const std::string& directory, const scheduler::CheckpointManifest& manifest,
                 const std::vector<std::string>& drop = {}) {
  const std::string text = scheduler::to_json(manifest).dump();
  const Status status = seal_checkpoint(directory + "/" + job_name,
                                        scheduler::checkpoint_folder(manifest.commit, 3), text, drop);
  INFO(status.message());
  REQUIRE(status.ok());
  return net::sha256(std::as_bytes(std::span(text)));
}

std::string refusal(const scheduler::JobSpec& job) {
  const auto opened = Checkpoint::open(job);
  return opened.ok() ? "accepted" : opened.status().message();
}

}  // namespace

TEST_CASE(
    "Checkpoint: what was written is read, of the newest, of one that is named, and of its own folder") {
  const TemporaryFolder folder;
  const std::string directory = folder.path(), of_job = folder.path(job_name);
  const std::string older = seal(directory, write_stages(directory, 7));
  const std::string newer = seal(directory, write_stages(directory, 50));
  for (const auto& [job, commit, digest] :
       {std::tuple(job_on(of_job), 50u, newer), std::tuple(job_on(of_job, 7), 7u, older),
        std::tuple(job_on(of_job + "/7-3"), 7u, older), std::tuple(job_on(of_job + "/7-3", 7), 7u, older)}) {
    const auto opened = Checkpoint::open(job);
    INFO(opened.status().message());
    REQUIRE(opened.ok());
    CHECK(opened.value().manifest().commit == commit);
    CHECK(opened.value().digest() == digest);
    for (const std::uint32_t stage : {0u, 1u}) {
      const auto state = opened.value().read(stage);
      INFO(state.status().message());
      REQUIRE(state.ok());
      const StageState expected = state_of(commit, stage);
      REQUIRE(state.value().parts.size() == expected.parts.size());
      for (std::size_t part = 0; part < expected.parts.size(); ++part)
        CHECK(first_of(state.value().parts[part]) == first_of(expected.parts[part]));
      CHECK(state.value().traits.updates == commit);
      CHECK(state.value().traits.gradient_norm == 0.5);
      CHECK(state.value().traits.learning_rate_scale == 1.1);
    }
  }
}

TEST_CASE("Checkpoint: without its manifest there is none") {
  const TemporaryFolder folder;
  const std::string directory = folder.path(), of_job = folder.path(job_name);
  CHECK_THAT(refusal(job_on(of_job)), Contains(of_job + ": there is no checkpoint in it"));
  const auto manifest = write_stages(directory, 50);
  CHECK_THAT(refusal(job_on(of_job)), Contains("there is no checkpoint in it"));
  CHECK_THAT(refusal(job_on(of_job, 50)), Contains("there is no checkpoint in it of commit 50"));
  seal(directory, manifest);
  CHECK(refusal(job_on(of_job)) == "accepted");
  CHECK_THAT(refusal(job_on(of_job, 40)), Contains("there is no checkpoint in it of commit 40"));
}

TEST_CASE("Checkpoint: those that are not kept go when another is whole, also what never was one") {
  const TemporaryFolder folder;
  const std::string directory = folder.path();
  for (const std::uint64_t commit : {10u, 20u}) seal(directory, write_stages(directory, commit));
  write_stages(directory, 25);
  seal(directory, write_stages(directory, 30), {"10-3", "25-3", "99-1", "30-3"});
  CHECK(folder.names(job_name) == std::set<std::string>{"20-3", "30-3"});
  CHECK(seal_checkpoint(directory, job_name, "{}", {"../other"}).code() == Code::invalid);
}

TEST_CASE("Checkpoint: of another job, or another one than the job wants, is refused with what differs") {
  const TemporaryFolder folder;
  const std::string of_job = folder.path(job_name);
  seal(folder.path(), write_stages(folder.path(), 50));
  CHECK_THAT(refusal(job_on(of_job, -1, 8)),
             Contains("50-3/checkpoint.json: is of a job with model.num_hidden_layers 4, this one has 8"));
  scheduler::JobSpec job = job_on(of_job);
  job.pipeline.stages = 4;
  CHECK_THAT(refusal(job), Contains("pipeline.stages 2, this one has 4"));
  job = job_on(of_job);
  job.resume.digest = "sha256:" + std::string(64, '0');
  CHECK_THAT(refusal(job), Contains("whose manifest has digest sha256:00") &&
                               Contains("every node of the job has to see this checkpoint"));
  job = job_on(of_job + "/50-3", 40);
  CHECK_THAT(refusal(job), Contains("there is no checkpoint in it of commit 40"));
  job = job_on(of_job);
  job.steps = 50;
  CHECK_THAT(refusal(job), Contains("nothing is left to train"));
}

TEST_CASE("Checkpoint: what is damaged is named, and never taken") {
  const TemporaryFolder folder;
  const std::string directory = folder.path(), of_job = folder.path(job_name);
  const auto manifest = write_stages(directory, 50);
  seal(directory, manifest);
  const std::string file = of_job + "/50-3/stage-1.safetensors";
  const auto problem = [&] {
    const auto opened = Checkpoint::open(job_on(of_job));
    if (!opened.ok()) return opened.status().message();
    const auto state = opened.value().read(1);
    return state.ok() ? std::string("accepted") : state.status().message();
  };
  CHECK(problem() == "accepted");
  SECTION("a bit is flipped in a moment") {
    std::string bytes;
    {
      std::ifstream in(file, std::ios::binary);
      bytes.assign(std::istreambuf_iterator<char>(in), {});
    }
    bytes[bytes.size() - 40] ^= 1;  // traits are the last 24 bytes
    REQUIRE(write_file(file, bytes).ok());
    CHECK_THAT(problem(), Contains(file) && Contains("second_moment"));
  }
  SECTION("another commit's file is in its place") {
    REQUIRE(write_checkpoint_stage(folder_of(directory, 60), 1, state_of(60, 1)).ok());
    std::filesystem::rename(folder_of(directory, 60) + "/stage-1.safetensors", file);
    CHECK_THAT(problem(), Contains("holds other weights than the manifest says"));
  }
  SECTION("a file is missing") {
    std::filesystem::remove(file);
    CHECK_THAT(problem(), Contains(file));
  }
  SECTION("the manifest is cut short") {
    REQUIRE(write_file(of_job + "/50-3/checkpoint.json", "{\"format\": 1, \"job\"").ok());
    CHECK_THAT(problem(), Contains("checkpoint.json: not an object"));
  }
  SECTION("the manifest lacks a stage") {
    scheduler::CheckpointManifest less = manifest;
    less.stages.pop_back();
    seal(directory, less);
    CHECK_THAT(problem(), Contains("lists 1 stages of 2"));
  }
}

TEST_CASE("Checkpoint: another one whose manifest is damaged is in nobody's way") {
  const TemporaryFolder folder;
  const std::string directory = folder.path(), of_job = folder.path(job_name);
  for (const std::uint64_t commit : {40u, 50u}) seal(directory, write_stages(directory, commit));
  REQUIRE(write_file(folder_of(directory, 50) + "/checkpoint.json", "{").ok());
  const auto opened = Checkpoint::open(job_on(of_job));
  INFO(opened.status().message());
  REQUIRE(opened.ok());
  CHECK(opened.value().manifest().commit == 40);
  CHECK_THAT(refusal(job_on(of_job, 50)), Contains("50-3/checkpoint.json"));
}

TEST_CASE("Checkpoint: what cannot be written is told with its path") {
  const TemporaryFolder folder;
  REQUIRE(write_file(folder.path("file"), "x").ok());
  const auto written = write_checkpoint_stage(folder.path("file") + "/50-3", 0, state_of(1, 0));
  CHECK(written.status().code() == Code::io);
  CHECK_THAT(written.status().message(), Contains(folder.path("file")));
  CHECK(seal_checkpoint(folder.path("file"), "50-3", "{}", {}).code() == Code::io);
}

}  // namespace sidestep::daemon
