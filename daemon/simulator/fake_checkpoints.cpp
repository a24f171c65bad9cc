// FakeRunner's checkpoints: in a folder of the simulated cluster's, written over some polls.
#include <span>

#include "daemon/simulator/fake_runner.h"
#include "net/digest.h"

namespace sidestep::sim {

using namespace sidestep::daemon;

std::string FakeRunner::resumed_folder(const scheduler::ResumeSpec& resume) const {
  for (const auto& [folder, manifest] : options_.folder->manifests) {
    const bool wanted =
        resume.digest.empty() || net::sha256(std::as_bytes(std::span(manifest))) == resume.digest;
    const std::int64_t commit = nlohmann::json::parse(manifest).at("commit");
    if (folder.starts_with(resume.directory + "/") && wanted &&
        (resume.commit < 0 || resume.commit == commit))
      return folder;
  }
  return {};
}

void FakeRunner::resume(std::uint32_t stage, Completion& done) {
  const std::string folder = resumed_folder(spec_->resume);
  const auto& stages = options_.folder->stages[folder];
  if (folder.empty() || !stages.contains(stage))
    return violation(done, "resumes stage " + std::to_string(stage) + " from no checkpoint");
  if (options_.folder->damaged.contains(folder)) {
    done.fault = folder + ": stage " + std::to_string(stage) + " is damaged";
    return;
  }
  const FakeFolder::Stage& kept = stages.at(stage);
  const auto manifest = nlohmann::json::parse(options_.folder->manifests.at(folder));
  if (manifest.at("stages").at(stage).at("digest") != net::sha256(std::as_bytes(std::span(&kept.weights, 1))))
    return violation(done,
                     "resumes stage " + std::to_string(stage) + " with other weights than the manifest's");
  Stage& held = stages_[stage];
  held.weights = kept.weights;
  held.updates = kept.traits.updates;
  held.gradient_norm = kept.traits.gradient_norm;
  held.learning_rate_scale = kept.traits.learning_rate_scale;
}

void FakeRunner::perform(const SaveCheckpoint& task, Completion& done) {
  Stage* stage = find(done, task.stage, {});
  if (stage == nullptr) return;
  if (task.commit + 1 != step_)
    return violation(done, "SaveCheckpoint of commit " + std::to_string(task.commit));
  const FakeFolder::Stage kept{stage->weights,
                               {stage->updates, stage->gradient_norm, stage->learning_rate_scale}};
  const WrittenStage written{task.commit,
                             task.epoch,
                             task.stage,
                             stage->accumulator.size(),
                             net::sha256(std::as_bytes(std::span(&kept.weights, 1))),
                             {}};
  writing_.push_back(
      {written, [folder = options_.folder, task, kept] { folder->stages[task.folder][task.stage] = kept; },
       random_.between(0, 2)});
}

void FakeRunner::perform(const PollCheckpoints& task, Completion& done) {
  std::erase_if(writing_, [&](Writing& one) {
    if (!task.wait && one.polls-- > 0) return false;
    WrittenStage& written = done.written.emplace_back(one.written);
    if (options_.folder == nullptr || options_.folder->full)
      written.problem = "no space left on device";
    else
      one.write();
    return true;
  });
  done.writing = !writing_.empty();
}

void FakeRunner::perform(const SealCheckpoint& task, Completion& done) {
  const std::string path = task.directory + "/" + task.folder;
  const std::map<std::uint32_t, FakeFolder::Stage>& stages = options_.folder->stages[path];
  // It was given up, and its folder is gone: the order came late.
  if (stages.empty()) {
    writing_.push_back({{task.commit, task.epoch, std::nullopt, 0, {}, "no such folder"}, [] {}, 0});
    return;
  }
  const auto manifest = nlohmann::json::parse(task.manifest);
  for (const auto& stage : manifest.at("stages"))
    if (!stages.contains(stage.at("stage").get<std::uint32_t>()))
      return violation(done, "SealCheckpoint without stage " + stage.at("stage").dump());
  const auto seal = [folder = options_.folder, task, path] {
    folder->manifests[path] = task.manifest;
    for (const std::string& old : task.drop) {
      folder->manifests.erase(task.directory + "/" + old);
      folder->stages.erase(task.directory + "/" + old);
    }
  };
  writing_.push_back({{task.commit, task.epoch, std::nullopt, 0, {}, {}}, seal, random_.between(0, 2)});
}

// As a runner's threads do when its job is dropped: to its end, and nobody hears of it.
void FakeRunner::end_writing() {
  for (Writing& one : std::exchange(writing_, {}))
    if (options_.folder != nullptr && !options_.folder->full) one.write();
}

}  // namespace sidestep::sim
