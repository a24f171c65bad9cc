#include "daemon/generate/stage_cut.h"

#include <string>

namespace sidestep::daemon {
namespace {

Status check_layers(const StageCut& cut, const scheduler::ModelSpec& model, const std::string& who) {
  const std::int64_t with_layers = cut.stage_0_layers ? cut.stages : cut.stages - 1;
  if (with_layers >= 1 && model.num_hidden_layers % with_layers == 0) return {};
  return Status::invalid(who + ": " + std::to_string(model.num_hidden_layers) +
                         " layers do not divide into " + std::to_string(cut.stages) + " stages" +
                         (cut.stage_0_layers ? "" : " of which stage 0 holds none"));
}

}  // namespace

Result<StageCut> cut_stages(const HfFolder& folder, std::optional<std::int64_t> stages,
                            const std::vector<std::int64_t>& skipped) {
  const ExportNotes& notes = folder.notes();
  const bool known = stages || notes.stages > 0;
  StageCut cut;
  if (known) cut = {stages.value_or(notes.stages), notes.stage_0_layers, {}};
  const std::string config = folder.path() + "/" + config_file_name;
  if (Status status =
          check_layers(cut, folder.model(), stages ? "--stages" : config + ": key \"sidestep.stages\"");
      !status.ok())
    return status;
  if (!skipped.empty() && !known)
    return Status::invalid("--skip-stages: " + config +
                           " does not say into how many stages the model is cut; give --stages");
  for (const std::int64_t stage : skipped) {
    if (stage == 0)
      return Status::invalid(
          "--skip-stages: stage 0 cannot be left out, it holds the embedding and the head");
    if (stage < 0 || stage >= cut.stages)
      return Status::invalid("--skip-stages: there is no stage " + std::to_string(stage) + "; there are " +
                             std::to_string(cut.stages) + " stages, 0 to " + std::to_string(cut.stages - 1));
    cut.skipped.insert(stage);
  }
  return cut;
}

}  // namespace sidestep::daemon
