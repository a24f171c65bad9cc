#include "daemon/model/stage_files.h"

#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "daemon/data/hf_export.h"
#include "daemon/data/hf_folder.h"
#include "daemon/model/parameters.h"
#include "daemon/model/weights.h"
#include "tests/unit/model/small_job.h"
#include "tests/unit/torch/catch.h"

namespace sidestep::daemon {
namespace {

using namespace testing;

class Files {
 public:
  explicit Files(const scheduler::JobSpec& spec) {
    std::string pattern = (std::filesystem::temp_directory_path() / "sidestep-test.XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    folder = pattern;
    for (std::int64_t i = 0; i < spec.pipeline.stages; ++i) {
      stages.emplace_back(spec, i, StageOptions{});
      paths.push_back(folder + "/stage-" + std::to_string(i));
      const at::Tensor weights = stages.back().weights();
      std::ofstream(paths.back(), std::ios::binary)
          .write(static_cast<const char*>(weights.const_data_ptr()),
                 static_cast<std::streamsize>(weights.nbytes()));
    }
  }
  ~Files() { std::filesystem::remove_all(folder); }
  Files(const Files&) = delete;

  std::string folder;
  std::vector<std::string> paths;
  std::vector<Stage> stages;
};

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST_CASE("Stage files: an export of them is the model that the stages hold") {
  scheduler::JobSpec spec = small_job(3, 6);
  spec.model.tie_word_embeddings = GENERATE(false, true);
  spec.pipeline.stage_0_layers = GENERATE(false, true);
  if (!spec.pipeline.stage_0_layers) spec.pipeline.stages = 4;
  const ElementType type = GENERATE(ElementType::f32, ElementType::bf16);
  Files files(spec);
  const auto source = stage_file_source(spec, files.paths);
  REQUIRE(source.ok());
  const std::string out = files.folder + "/model";
  const Status written =
      write_hf_folder(out, spec.model, model_tensors(spec.model, type), source.value(), {});
  INFO(written.message());
  REQUIRE(written.ok());
  const auto folder = HfFolder::open(out);
  REQUIRE(folder.ok());
  CHECK(check_tensors(folder.value()).message() == "");
  for (std::int64_t i = 0; i < spec.pipeline.stages; ++i) {
    scheduler::JobSpec other = spec;
    other.seed = 99;
    Stage loaded(other, i, StageOptions{});
    REQUIRE(load_stage(folder.value(), loaded).ok());
    at::Tensor expected = files.stages[static_cast<std::size_t>(i)].weights();
    if (type == ElementType::bf16) expected = expected.to(at::kBFloat16).to(at::kFloat);
    CHECK(at::equal(loaded.weights(), expected));
  }
}

TEST_CASE("Stage files: one of another length is named") {
  const scheduler::JobSpec spec = small_job(2);
  Files files(spec);
  std::ofstream(files.paths[1], std::ios::binary | std::ios::app) << "more";
  const auto source = stage_file_source(spec, files.paths);
  REQUIRE_FALSE(source.ok());
  CHECK_THAT(source.status().message(), Catch::Contains("stage-1: has") && Catch::Contains("stage 1 takes"));
}

TEST_CASE("Stage files: a stage that nobody has is the weighted average of its neighbours' layers") {
  scheduler::JobSpec spec = small_job(3, 6);
  Files files(spec);
  const at::Tensor below = files.stages[0].weights(), above = files.stages[2].weights();
  std::filesystem::remove(files.paths[1]);
  REQUIRE(write_rebuilt_stage(spec, 1, {{0, 0.25}, {2, 0.75}}, files.paths).ok());
  REQUIRE(stage_file_source(spec, files.paths).ok());
  const std::string bytes = read_file(files.paths[1]);
  const auto layout = ParameterLayout::of_stage(spec, 1), of_below = ParameterLayout::of_stage(spec, 0);
  REQUIRE(bytes.size() == static_cast<std::size_t>(layout.elements) * sizeof(float));
  // Parameter by parameter, layer for layer.
  std::size_t compared = 0;
  for (const Parameter& parameter : layout.parameters) {
    std::string in_below = parameter.name, in_above = parameter.name;
    const std::size_t place = std::string("model.layers.").size();
    const int layer = std::stoi(parameter.name.substr(place));
    const std::size_t digits = std::to_string(layer).size();
    in_below.replace(place, digits, std::to_string(layer - 2));
    const at::Tensor a = view_of(below, of_below.find(in_below));
    const at::Tensor b =
        above.narrow(0, parameter.offset, parameter.elements()).view(parameter.shape);  // laid out alike
    at::Tensor made = at::empty(parameter.shape, at::TensorOptions().dtype(at::kFloat));
    std::memcpy(made.mutable_data_ptr(), bytes.data() + parameter.offset * 4, made.nbytes());
    CHECK(at::allclose(made, a * 0.25 + b * 0.75, 1e-6, 1e-7));
    ++compared;
  }
  CHECK(compared == layout.parameters.size());

  // None: as a fresh job makes it.
  REQUIRE(write_rebuilt_stage(spec, 1, {}, files.paths).ok());
  const at::Tensor fresh = files.stages[1].weights();
  CHECK(read_file(files.paths[1]) ==
        std::string(static_cast<const char*>(fresh.const_data_ptr()), fresh.nbytes()));
}

}  // namespace
}  // namespace sidestep::daemon
