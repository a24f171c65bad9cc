#include "scheduler/checkpoint_manifest.h"

#include <limits>

#include "scheduler/json_reader.h"

namespace sidestep::scheduler {
namespace {

constexpr std::uint64_t format = 1;

}  // namespace

std::string checkpoint_folder(std::uint64_t commit, std::uint64_t epoch) {
  return std::to_string(commit) + "-" + std::to_string(epoch);
}

nlohmann::json to_json(const CheckpointManifest& manifest) {
  nlohmann::json stages = nlohmann::json::array();
  for (const CheckpointManifest::Stage& stage : manifest.stages)
    stages.push_back({{"stage", stage.stage}, {"elements", stage.elements}, {"digest", stage.digest}});
  return {{"format", format},          {"job", manifest.job},
          {"commit", manifest.commit}, {"written_us", manifest.written_us},
          {"spec", manifest.spec},     {"stages", std::move(stages)}};
}

Result<CheckpointManifest> parse_checkpoint_manifest(const nlohmann::json& json, const std::string& source) {
  JsonReader reader(source);
  CheckpointManifest manifest;
  if (const std::uint64_t found = reader.natural(reader.member(json, "format"));
      reader.ok() && found != format)
    reader.fail("is of format " + std::to_string(found) + ", this program knows " + std::to_string(format));
  manifest.job = reader.text(reader.member(json, "job"));
  manifest.commit = reader.natural(reader.member(json, "commit"));
  manifest.written_us = static_cast<std::int64_t>(
      reader.natural(reader.member(json, "written_us"), std::numeric_limits<std::int64_t>::max()));
  manifest.spec = reader.member(json, "spec");
  for (const nlohmann::json& entry : reader.list(reader.member(json, "stages"))) {
    CheckpointManifest::Stage& stage = manifest.stages.emplace_back();
    stage.stage = reader.natural32(reader.member(entry, "stage"));
    stage.elements = reader.natural(reader.member(entry, "elements"));
    stage.digest = reader.text(reader.member(entry, "digest"));
    if (reader.ok() && stage.stage + 1 != manifest.stages.size())
      reader.fail("lists stage " + std::to_string(stage.stage) + " where stage " +
                  std::to_string(manifest.stages.size() - 1) + " should be");
  }
  if (!reader.ok()) return reader.status();
  return manifest;
}

Status check_resumable(const JobSpec& job, const CheckpointManifest& manifest, const std::string& source) {
  const Result<JobSpec> written = parse_job(manifest.spec, source + ": its job");
  if (!written.ok()) return written.status();
  Problems problems(source);
  const nlohmann::json wanted = to_json(job), found = to_json(written.value());
  for (const auto& [key, value] : wanted.at("model").items())
    // Two that no weight depends on.
    if (key != "max_position_embeddings" && key != "initializer_range" && found.at("model").at(key) != value)
      problems.add("is of a job with model." + key + " " + found.at("model").at(key).dump() +
                   ", this one has " + value.dump());
  for (const char* key : {"stages", "stage_0_layers"})
    if (found.at("pipeline").at(key) != wanted.at("pipeline").at(key))
      problems.add("is of a job with pipeline." + std::string(key) + " " +
                   found.at("pipeline").at(key).dump() + ", this one has " +
                   wanted.at("pipeline").at(key).dump());
  if (problems.empty() && manifest.stages.size() != static_cast<std::size_t>(job.pipeline.stages))
    problems.add("lists " + std::to_string(manifest.stages.size()) + " stages of " +
                 std::to_string(job.pipeline.stages));
  if (manifest.commit >= static_cast<std::uint64_t>(job.final_step()))
    problems.add("is of commit " + std::to_string(manifest.commit) + ", and \"steps\" is " +
                 std::to_string(job.steps) + ": nothing is left to train");
  return problems.status();
}

}  // namespace sidestep::scheduler
