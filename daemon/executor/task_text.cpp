#include "daemon/executor/task_text.h"

#include <algorithm>
#include <cctype>

namespace sidestep::daemon {
namespace {

std::string of_stage(const std::string& what, std::uint32_t stage) {
  return what + " stage " + std::to_string(stage);
}

template <class MicrobatchTask>
std::string of_microbatch(const MicrobatchTask& task) {
  return ", step " + std::to_string(task.step) + ", microbatch " + std::to_string(task.microbatch);
}

struct Describe {
  std::string operator()(const InitJob& task) const {
    std::string stages;
    for (const std::uint32_t stage : task.stages)
      stages += (stages.empty() ? "" : ", ") + std::to_string(stage);
    return "setting up the job with stages " + (stages.empty() ? "none" : stages);
  }
  std::string operator()(const ProbeJob&) const { return "probing the job"; }
  std::string operator()(const DropJob&) const { return "dropping the job"; }
  std::string operator()(const Forward& task) const {
    return of_stage(task.evaluation ? "evaluation of" : "forward of", task.stage) + of_microbatch(task);
  }
  std::string operator()(const Head& task) const { return "head" + of_microbatch(task); }
  std::string operator()(const Backward& task) const {
    return of_stage("backward of", task.stage) + of_microbatch(task);
  }
  std::string operator()(const Forget& task) const {
    return of_stage("forgetting a forward of", task.stage) + of_microbatch(task);
  }
  std::string operator()(const ExposeGradient& task) const { return of_stage("gradient of", task.stage); }
  std::string operator()(const Reduce& task) const { return of_stage("averaging of", task.stage); }
  std::string operator()(const StoreAverage& task) const {
    return of_stage("storing the average of", task.stage);
  }
  std::string operator()(const MeasureAverage& task) const {
    return of_stage("measuring the average of", task.stage);
  }
  std::string operator()(const SaveSnapshot& task) const {
    return of_stage("saving", task.stage) + " at commit " + std::to_string(task.commit);
  }
  std::string operator()(const ReadSlice& task) const {
    return of_stage("reading a slice of", task.request.stage);
  }
  std::string operator()(const SaveCheckpoint& task) const {
    return of_stage("copying", task.stage) + " for the checkpoint of commit " + std::to_string(task.commit);
  }
  std::string operator()(const PollCheckpoints&) const { return "asking for checkpoints"; }
  std::string operator()(const SealCheckpoint& task) const {
    return "sealing the checkpoint of commit " + std::to_string(task.commit);
  }
  std::string operator()(const AddStage& task) const { return of_stage("setting up", task.stage); }
  std::string operator()(const DropStage& task) const { return of_stage("dropping", task.stage); }
  std::string operator()(const CopyState& task) const { return of_stage("copying the state of", task.stage); }
  std::string operator()(const StoreState& task) const { return of_stage("storing a slice of", task.stage); }
  std::string operator()(const FinishState& task) const {
    return of_stage("checking the state of", task.stage);
  }
  std::string operator()(const CatchUp& task) const {
    return of_stage("making the update of step " + std::to_string(task.step) + " of", task.stage);
  }
  std::string operator()(const AbandonStep& task) const {
    return "beginning step " + std::to_string(task.step) + " anew";
  }
  std::string operator()(const Update& task) const { return "update of step " + std::to_string(task.step); }
};

}  // namespace

std::string task_text(const Task& task) { return std::visit(Describe(), task); }

std::string memory_text(std::string_view error) {
  constexpr std::string_view marker = "you tried to allocate ";
  if (const std::size_t at = error.find(marker); at != std::string_view::npos) {
    const std::string_view rest = error.substr(at + marker.size());
    const auto end =
        std::find_if_not(rest.begin(), rest.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
    return "out of memory: " + std::string(rest.begin(), end) + " bytes could not be allocated";
  }
  return std::string(error.substr(0, error.find('\n')));
}

}  // namespace sidestep::daemon
