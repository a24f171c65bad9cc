#include "scheduler/job.h"

#include <rapidcheck.h>
#include <rapidcheck/catch.h>
#include <catch2/catch.hpp>
#include <filesystem>

#include "scheduler/options.h"
#include "scheduler/swarm_support.h"

using namespace sidestep;
using namespace sidestep::scheduler;
using nlohmann::json;

namespace {

json good_job() {
  return json::parse(R"({
    "name": "job", "steps": 100,
    "model": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 8, "num_attention_heads": 4},
    "pipeline": {"stages": 4, "microbatches_per_step": 8},
    "data": {"path": "data/text.txt", "sequence_length": 16},
    "optimizer": {"learning_rate": 0.001, "warmup_steps": 10}
  })");
}

JobSpec parsed(const json& value) {
  const Result<JobSpec> job = parse_job(value, "job.json");
  INFO(job.status().message());
  REQUIRE(job.ok());
  return job.value();
}

std::string job_refusal(const json& value) {
  const Result<JobSpec> job = parse_job(value, "job.json");
  return job.ok() ? "accepted" : job.status().message();
}

json changed(const std::string& pointer, const json& value) {
  json job = good_job();
  job[json::json_pointer(pointer)] = value;
  return job;
}

json without(const std::string& block, const std::string& key) {
  json job = good_job();
  job[block].erase(key);
  return job;
}

}  // namespace

TEST_CASE("Job: what is left out gets its default, also where it depends on other keys") {
  const JobSpec job = parsed(good_job());
  CHECK(job.model.vocab_size == 256);
  CHECK(job.model.num_key_value_heads == 4);
  CHECK(job.model.head_dim == 8);
  CHECK(job.model.max_position_embeddings == 16);
  CHECK(job.optimizer.schedule == "cosine");
  CHECK(job.precision == "auto");
}

TEST_CASE("Job: the complete form reads back as the same job") {
  const JobSpec job = parsed(good_job());
  CHECK(to_json(parsed(to_json(job))) == to_json(job));
}

TEST_CASE("Job: every wrong value gets its own line") {
  // One row: what is changed in a good job, and the exact text.
  const std::vector<std::pair<json, std::string>> cases{
      {json(5), "job.json: must be a JSON object, found 5"},
      {changed("/pipeline/skip_ration", 0.5),
       "job.json: unknown key \"pipeline.skip_ration\"; did you mean \"skip_ratio\"?"},
      {changed("/pipelin", json::object()), "job.json: unknown key \"pipelin\"; did you mean \"pipeline\"?"},
      {changed("/stages", 4), "job.json: unknown key \"stages\"; did you mean \"pipeline.stages\"?"},
      {changed("/data.path", "x"), "job.json: unknown key \"data.path\""},
      {changed("/model/zebra", 1), "job.json: unknown key \"model.zebra\""},
      {changed("/pipeline", 3),
       "job.json: key \"pipeline\": must be an object, found 3\n"
       "job.json: missing key \"pipeline.stages\": parts that the layers are cut into\n"
       "job.json: missing key \"pipeline.microbatches_per_step\": microbatches of one update"},
      {without("model", "hidden_size"),
       "job.json: missing key \"model.hidden_size\": width of the residual stream"},
      {changed("/steps", "many"),
       "job.json: key \"steps\": must be a whole number, found the string \"many\""},
      {changed("/steps", 2.5), "job.json: key \"steps\": must be a whole number, found 2.5"},
      {changed("/steps", nullptr), "job.json: key \"steps\": must be a whole number, found null"},
      {changed("/steps", 0), "job.json: key \"steps\": value 0 is too small, at least 1 allowed\n"},
      {changed("/seed", -1), "job.json: key \"seed\": must be a whole number, not negative, found -1"},
      {changed("/deterministic", 1), "job.json: key \"deterministic\": must be true or false, found 1"},
      {changed("/name", json::array()), "job.json: key \"name\": must be a string, found a list"},
      {changed("/name", ""), "job.json: key \"name\": must not be empty"},
      {changed("/name", "../up"),
       "job.json: key \"name\": \"../up\" is not a name: a letter or digit, then letters, digits, '.', '_' "
       "and "
       "'-', at most 64 together"},
      {changed("/pipeline/slots", 70000),
       "job.json: key \"pipeline.slots\": value 70000 is too large, at most 1024 allowed"},
      {changed("/pipeline/slots", 18446744073709551615u),
       "job.json: key \"pipeline.slots\": value 18446744073709551615 is too large, at most 1024 allowed"},
      {changed("/optimizer/learning_rate", 0),
       "job.json: key \"optimizer.learning_rate\": value 0 is too small, more than 0 needed"},
      {changed("/optimizer/beta1", 1),
       "job.json: key \"optimizer.beta1\": value 1 is too large, less than 1 needed"},
      {changed("/precision", "float16"),
       "job.json: key \"precision\": value \"float16\" is not known; allowed: \"auto\", \"float32\" and "
       "\"bfloat16\""},
      {changed("/data/digest", "sha256:12"),
       "job.json: key \"data.digest\": \"sha256:12\" is not a digest: \"sha256:\" and 64 hexadecimal digits "
       "(0-9, "
       "a-f)"},
      {changed("/model/num_attention_heads", 5),
       "job.json: key \"model.hidden_size\": 32 does not divide by 5 heads; change one of them or give "
       "\"model.head_dim\""},
      {changed("/model/num_key_value_heads", 3),
       "job.json: key \"model.num_attention_heads\": 4 heads do not divide by 3 key and value heads"},
      {changed("/model/head_dim", 7),
       "job.json: key \"model.head_dim\": value 7 is odd; the rotary embedding needs an even one"},
      {changed("/model/num_attention_heads", 32),
       "job.json: key \"model.hidden_size\": head_dim (hidden_size / num_attention_heads) is 1; the rotary "
       "embedding needs an even one"},
      {changed("/model/vocab_size", 255),
       "job.json: key \"model.vocab_size\": value 255 is too small, the bytes tokenizer needs at least 256"},
      {changed("/model/max_position_embeddings", 8),
       "job.json: key \"data.sequence_length\": value 16 is more than model.max_position_embeddings, 8"},
      {changed("/pipeline/stages", 3),
       "job.json: key \"model.num_hidden_layers\": 8 layers do not divide into 3 stages"},
      {changed("/pipeline/stages", 9),
       "job.json: key \"pipeline.stages\": 9 stages are too many for 8 layers, each needs at least one"},
      {changed("/pipeline/stage_0_layers", false),
       "job.json: key \"model.num_hidden_layers\": 8 layers do not divide into 3 stages (stage 0 holds "
       "none)"},
      {changed("/optimizer/warmup_steps", 101),
       "job.json: key \"optimizer.warmup_steps\": value 101 is more than steps, 100"},
      {changed("/data/sequence_length", 1 << 20),
       "job.json: key \"pipeline.microbatch_size\": a microbatch's activations have 1342177280 bytes "
       "(microbatch_size "
       "x sequence_length x hidden_size), at most 1073741824 can travel"},
      {changed("/pipeline/skip_ratio", 1),
       "job.json: key \"pipeline.skip_ratio\": value 1 is too large, at most 0.99 allowed"},
      {changed("/pipeline/skip_ratio", "half"),
       "job.json: key \"pipeline.skip_ratio\": must be a number, or a list of [step, number], found the "
       "string \"half\""},
      {changed("/pipeline/skip_ratio", json{{2, 0.5}}),
       "job.json: key \"pipeline.skip_ratio\": the first entry must be for step 1, found 2"},
      {changed("/pipeline/skip_ratio", json{{1, 0.5}, {1, 0.25}}),
       "job.json: key \"pipeline.skip_ratio\": steps must rise, found 1 after 1"},
      {changed("/pipeline/skip_ratio", json{{1, 0.5}, {9, -0.25}}),
       "job.json: key \"pipeline.skip_ratio\": value -0.25 is too small, at least 0 allowed"},
      {changed("/pipeline/skip_ratio", json::array()),
       "job.json: key \"pipeline.skip_ratio\": must not be empty"},
      {changed("/pipeline/skip_ratio", json{0.5}),
       "job.json: key \"pipeline.skip_ratio\": each entry must be [step, ratio], found 0.5"},
      {changed("/pipeline/warmup_steps", 101),
       "job.json: key \"pipeline.warmup_steps\": value 101 is more than steps, 100"},
      {changed("/pipeline/max_skip", 0),
       "job.json: key \"pipeline.max_skip\": must be a whole number from 1 to 1023, or null, found 0"},
      {changed("/pipeline/visit_share", "deep"),
       "job.json: key \"pipeline.visit_share\": must be \"even\", \"depth\" or a list of numbers, one a "
       "stage, found the string \"deep\""},
      {changed("/pipeline/visit_share", json{1, 2, 3}),
       "job.json: key \"pipeline.visit_share\": has 3 numbers for 4 stages"},
      {changed("/pipeline/visit_share", json{1, -2, 3, 1}),
       "job.json: key \"pipeline.visit_share\": each entry must be a number from 0 to 1000000, found -2"},
      {changed("/validation/skip", json{0.5, 1}),
       "job.json: key \"validation.skip\": each entry must be a number from 0 to 0.99, found 1"},
      {changed("/recovery/policy", "none"),
       "job.json: key \"recovery.policy\": value \"none\" is not known; allowed: \"checkfree\", "
       "\"checkfree+\", \"mirror\", \"checkpoint\" and \"replica\""},
      {changed("/recovery/every", -1),
       "job.json: key \"recovery.every\": value -1 is too small, at least 1 allowed"},
      {changed("/recovery/policy", "checkfree+"),
       "job.json: key \"recovery.policy\": \"checkfree+\" needs at least 5 stages, pipeline.stages is 4\n"
       "job.json: key \"pipeline.max_swaps\": value 0 is too small for recovery.policy \"checkfree+\", at "
       "least 2 needed"},
      {changed("/failures", json::array()), "job.json: key \"failures\": must be an object, found a list"},
      {changed("/failures/probability", 1.5),
       "job.json: key \"failures.probability\": value 1.5 is too large, at most 1 allowed"},
      {changed("/failures/list", json{{{"step", 101}, {"stages", {1, 4}}}}),
       "job.json: key \"failures.list[0].step\": value 101 is more than steps, 100\n"
       "job.json: key \"failures.list[0].stages\": there is no stage 4, the job has stages 0 to 3"},
      {changed("/failures/list", json{{{"step", 3}}}),
       "job.json: missing key \"failures.list[0].stages\": the stages that are lost"},
      {changed("/failures/list", json{{{"step", 3}, {"stages", json::array()}}}),
       "job.json: key \"failures.list[0].stages\": must be a list of stages, at least one, found a list"},
      {changed("/failures/list", json{{{"step", 3}, {"stages", {-1}}}}),
       "job.json: key \"failures.list[0].stages\": each entry must be a stage, a whole number from 0 to "
       "1023, "
       "found -1"},
      {changed("/model/hidden_act", "gelu"),
       "job.json: key \"model.hidden_act\": the string \"gelu\" is not available in this version; only "
       "\"silu\" is"},
      {changed("/init_from", json::object()),
       "job.json: key \"init_from\": must be a string, found an object"},
      {changed("/init_from_digest", "sha256:" + std::string(64, 'a')),
       "job.json: key \"init_from_digest\": is of the folder that \"init_from\" names, which is missing"},
  };
  for (auto [job, text] : cases) {
    // A job of no steps has a warm-up that is too long as well; that line has no place here.
    if (text.ends_with('\n')) {
      text.pop_back();
      job["optimizer"]["warmup_steps"] = 0;
    }
    if (job.is_object() && job["model"].contains("vocab_size")) job["data"]["format"] = "text";
    if (job.is_object() && job["data"].value("sequence_length", 0) == 1 << 20)
      job["model"]["hidden_size"] = 320;
    CHECK(job_refusal(job) == text);
  }
}

TEST_CASE("Job: all problems are told at once") {
  json job = good_job();
  job["steps"] = "many";
  job["model"]["hiden_size"] = 4;
  job["pipeline"]["slots"] = 0;
  job["pipeline"]["stages"] = 3;
  CHECK(job_refusal(job) ==
        "job.json: unknown key \"model.hiden_size\"; did you mean \"hidden_size\"?\n"
        "job.json: key \"steps\": must be a whole number, found the string \"many\"\n"
        "job.json: key \"pipeline.slots\": value 0 is too small, at least 1 allowed\n"
        "job.json: key \"model.num_hidden_layers\": 8 layers do not divide into 3 stages");
}

TEST_CASE("Job: a folder that nodes have to see is an absolute path, and leaves something to train") {
  const auto refusal = [](const char* place, const json& value) {
    return job_refusal(changed(place, value));
  };
  CHECK_THAT(refusal("/recovery", {{"directory", "checkpoints"}}),
             Catch::Contains("key \"recovery.directory\": \"checkpoints\" is not an absolute path"));
  CHECK_THAT(refusal("/resume", {{"directory", "checkpoints/a-1"}}),
             Catch::Contains("key \"resume.directory\": \"checkpoints/a-1\" is not an absolute path"));
  CHECK_THAT(refusal("/resume", {{"directory", "/checkpoints"}, {"commit", 1'000'000}}),
             Catch::Contains("leaves nothing to train after commit 1000000"));
  CHECK_THAT(refusal("/resume", {{"directory", "/checkpoints"}, {"digest", "abc"}}),
             Catch::Contains("resume.digest"));
  json both = changed("/resume", {{"directory", "/checkpoints"}});
  both["init_from"] = "weights";
  CHECK_THAT(job_refusal(both), Catch::Contains("key \"init_from\": a job that resumes"));
  const JobSpec job = parsed(changed("/resume", {{"directory", "/checkpoints"}, {"commit", 7}}));
  CHECK(job.first_commit() == 7);
  CHECK(parsed(good_job()).first_commit() == 0);
}

TEST_CASE("Job: what a swarm cannot do is refused for it, key by key") {
  const auto refusal = [](const json& recovery, const json& failures) {
    json job = changed("/recovery", recovery);
    job["failures"] = failures;
    job["pipeline"]["stages"] = 8;
    job["pipeline"]["max_swaps"] = 2;
    const Status status = check_for_swarm(parsed(job), "job.json");
    return status.ok() ? "accepted" : status.message();
  };
  const json none = json::object();
  CHECK(refusal(none, none) == "accepted");
  CHECK(refusal({{"policy", "mirror"}}, none) == "accepted");
  CHECK(refusal({{"policy", "checkfree+"}}, {{"probability", 0.1}}) == "accepted");
  CHECK(refusal({{"policy", "checkpoint"}}, none) ==
        "job.json: missing key \"recovery.directory\": policy \"checkpoint\" needs a folder that all nodes "
        "see");
  CHECK(refusal({{"policy", "checkpoint"}, {"directory", "/shared"}}, none) == "accepted");
  CHECK(refusal({{"policy", "mirror"}, {"every", 10}}, none) == "accepted");
  CHECK(refusal({{"out_steps", 3}}, none) == "accepted");
}

TEST_CASE("Job: layers are dealt to stages without a gap") {
  const bool stage_0_layers = GENERATE(true, false);
  json value = changed("/pipeline/stage_0_layers", stage_0_layers);
  value["pipeline"]["stages"] = stage_0_layers ? 4 : 5;
  const JobSpec job = parsed(value);
  std::int64_t next = 0;
  for (std::int64_t stage = 0; stage < job.pipeline.stages; ++stage) {
    CHECK(job.first_layer(stage) == next);
    CHECK(job.layer_count(stage) == (stage == 0 && !stage_0_layers ? 0 : 2));
    next += job.layer_count(stage);
  }
  CHECK(next == 8);
}

TEST_CASE("Learning rate: rises in a line, falls in a cosine to its last share") {
  const JobSpec job = parsed(good_job());
  CHECK(job.learning_rate(1) == Approx(0.0001));
  CHECK(job.learning_rate(10) == Approx(0.001));
  CHECK(job.learning_rate(55) == Approx(0.001 * 0.55));  // half way: the mean of 1 and final_ratio
  CHECK(job.learning_rate(100) == Approx(0.0001));
  const JobSpec constant = parsed(changed("/optimizer/schedule", "constant"));
  CHECK(constant.learning_rate(100) == 0.001);
  const JobSpec all_warmup = parsed(changed("/optimizer/warmup_steps", 100));
  CHECK(all_warmup.learning_rate(100) == Approx(0.001));
}

TEST_CASE("Validation: every so many commits and after the last, in a step of its own") {
  JobSpec job = parsed(good_job());
  CHECK(job.final_step() == 100);
  CHECK(job.evaluations_in(101) == 0);
  job.validation = {40, 3};
  std::vector<std::int64_t> steps;
  for (std::int64_t step = 1; step <= job.final_step(); ++step)
    if (job.evaluations_in(step) == 3) steps.push_back(step);
  CHECK(steps == std::vector<std::int64_t>{41, 81, 101});
  job.validation.skip = {0.25, 0.5};
  CHECK(job.evaluations_in(41) == 9);
  CHECK(job.validation_data(7) == 1);
}

TEST_CASE("Pipeline: the skip ratio rises and falls as the list and the warm-up say") {
  const auto phases = [](const json& ratio, std::int64_t warmup) {
    json job = changed("/pipeline/skip_ratio", ratio);
    job["pipeline"]["warmup_steps"] = warmup;
    return parsed(job).pipeline.phases();
  };
  using Phases = std::vector<SkipPhase>;
  CHECK(phases(0.5, 0) == Phases{{1, 0.5}});
  CHECK(phases(0, 10) == Phases{{1, 0}});
  CHECK(phases(0.5, 10) == Phases{{1, 0}, {11, 0.5}});
  const json list{{1, 0.5}, {20, 0.25}, {50, 0}};
  CHECK(phases(list, 0) == Phases{{1, 0.5}, {20, 0.25}, {50, 0}});
  CHECK(phases(list, 10) == Phases{{1, 0}, {11, 0.5}, {20, 0.25}, {50, 0}});
  CHECK(phases(list, 19) == Phases{{1, 0}, {20, 0.25}, {50, 0}});
  CHECK(phases(list, 30) == Phases{{1, 0}, {31, 0.25}, {50, 0}});
  CHECK(phases(list, 60) == Phases{{1, 0}});
}

TEST_CASE("Job: any valid numbers survive the way through JSON") {
  rc::prop("to_json and parse_job", [] {
    JobSpec job;
    job.name = "p";
    job.steps = *rc::gen::inRange<std::int64_t>(1, 1'000'000);
    job.seed = *rc::gen::arbitrary<std::uint64_t>();
    job.pipeline.stages = *rc::gen::inRange<std::int64_t>(1, 9);
    job.model.num_hidden_layers = job.pipeline.stages * *rc::gen::inRange<std::int64_t>(1, 5);
    job.model.num_key_value_heads = *rc::gen::inRange<std::int64_t>(1, 5);
    job.model.num_attention_heads = job.model.num_key_value_heads * *rc::gen::inRange<std::int64_t>(1, 5);
    job.model.head_dim = 2 * *rc::gen::inRange<std::int64_t>(1, 65);
    job.model.hidden_size = *rc::gen::inRange<std::int64_t>(1, 1025);
    job.model.intermediate_size = *rc::gen::inRange<std::int64_t>(1, 1025);
    job.data.path = *rc::gen::nonEmpty(rc::gen::container<std::string>(rc::gen::inRange<char>(' ', '~')));
    job.data.sequence_length = *rc::gen::inRange<std::int64_t>(1, 1025);
    job.model.max_position_embeddings = job.data.sequence_length;
    job.optimizer.learning_rate = *rc::gen::inRange(1, 1000) / 997.0;
    job.recovery.every = *rc::gen::inRange<std::int64_t>(1, 1'000);
    job.failures.probability = *rc::gen::inRange(0, 998) / 997.0;
    job.failures.seed = *rc::gen::arbitrary<std::uint64_t>();
    job.failures.list = {{*rc::gen::inRange<std::int64_t>(1, job.steps + 1), {0}}};
    const Result<JobSpec> back = parse_job(json::parse(to_json(job).dump()), "job.json");
    RC_ASSERT(back.ok());
    RC_ASSERT(to_json(back.value()) == to_json(job));
  });
}

TEST_CASE("Job: several files, each with its own weight and digest") {
  json job = without("data", "path");
  job["data"]["files"] = {{{"path", "a.txt"}, {"weight", 3}}, {{"path", "b.txt"}}};
  const JobSpec spec = parsed(job);
  REQUIRE(spec.data.all_files().size() == 2);
  CHECK(spec.data.files[0].weight == 3);
  CHECK(spec.data.files[1].weight == 1);
  CHECK(spec.data.name() == "a.txt (and 1 more)");
  CHECK(to_json(parsed(to_json(spec))) == to_json(spec));
  CHECK(parsed(good_job()).data.all_files()[0].path == "data/text.txt");

  const std::string digest = "sha256:" + std::string(64, 'a');
  job["data"]["digest"] = digest + " " + digest;
  CHECK(job_refusal(job) == "accepted");
  job["data"]["digest"] = digest;
  CHECK(job_refusal(job) ==
        "job.json: key \"data.digest\": has 1 digests for 2 files, the tokenizer's included");
}

TEST_CASE("Job: a folder of weights to begin with, and its digest") {
  CHECK(parsed(good_job()).init_from.empty());
  json job = changed("/init_from", "models/base");
  CHECK(parsed(job).init_from == "models/base");
  CHECK(parsed(job).init_from_digest.empty());
  job["init_from_digest"] = "sha256:" + std::string(64, 'a');
  CHECK(parsed(job).init_from_digest == "sha256:" + std::string(64, 'a'));
  CHECK(to_json(parsed(to_json(parsed(job)))) == to_json(parsed(job)));
  job["init_from_digest"] = "sha256:A";
  CHECK(job_refusal(job) ==
        "job.json: key \"init_from_digest\": \"sha256:A\" is not a digest: \"sha256:\" and 64 hexadecimal "
        "digits (0-9, a-f)");
}

TEST_CASE("Job: what does not fit together in the data is named") {
  CHECK(job_refusal(without("data", "path")) ==
        "job.json: missing key \"data.path\": the file to train on; several: \"data.files\"");
  CHECK(job_refusal(changed("/data/files", {{{"path", "b"}}})) ==
        "job.json: key \"data.files\": name \"data.path\" or \"data.files\", not both");
  json job = without("data", "path");
  job["data"]["files"] = {{{"path", "b"}, {"weight", 0}}, 7, {{"pth", "c"}, {"digest", "x"}}};
  CHECK(
      job_refusal(job) ==
      "job.json: key \"data.files[0].weight\": value 0 is too small, more than 0 needed\n"
      "job.json: key \"data.files[1]\": must be an object, found 7\n"
      "job.json: unknown key \"data.files[2].pth\"; did you mean \"path\"?\n"
      "job.json: missing key \"data.files[2].path\": as data.path\n"
      "job.json: key \"data.files[2].digest\": \"x\" is not a digest: \"sha256:\" and 64 hexadecimal digits "
      "(0-9, a-f)");
  CHECK(job_refusal(changed("/data/files", "b")) ==
        "job.json: key \"data.files\": must be a list of objects, found the string \"b\"");
  CHECK(job_refusal(changed("/data/tokenizer", "sentencepiece")) ==
        "job.json: missing key \"data.tokenizer_path\": the SentencePiece model (.model)");
  CHECK(job_refusal(changed("/data/tokenizer_path", "t.model")) ==
        "job.json: key \"data.tokenizer_path\": is only for \"data.tokenizer\": \"sentencepiece\"");
}

TEST_CASE("JSON text: what is wrong is named with line and column") {
  const auto text = [](const char* content) {
    const auto result = parse_json_text(content, "f.json");
    return result.ok() ? std::string("accepted") : result.status().message();
  };
  CHECK(text("{\"a\": 1,\n \"b\": }") ==
        "f.json:2:7: not JSON: syntax error while parsing value - unexpected '}'; expected '[', '{', or a "
        "literal");
  CHECK_THAT(text("{"), Catch::StartsWith("f.json:1:2: not JSON: "));
  CHECK_THAT(text(""), Catch::StartsWith("f.json:1:1: not JSON: "));
  CHECK(text("{\"a\": {\"b\": 1, \"b\": 2}, \"c\": 1}") == "f.json: key \"b\" is there twice in one object");
  CHECK(text("{\"a\": {\"b\": 1}, \"b\": 2}") == "accepted");
}

TEST_CASE("JSON file: one that cannot be read is named with the reason") {
  CHECK(load_job("/nowhere/job.json").status().message() ==
        "/nowhere/job.json: cannot be read: No such file or directory");
  CHECK(load_job("/").status().message() == "/: cannot be read: Is a directory");
}

TEST_CASE("Options: the docs name every key with its limits and default") {
  const std::string docs = job_keys_markdown();
  CHECK_THAT(docs, Catch::Contains("| `pipeline.slots` | a whole number, 1 to 1024 | 3 | microbatches whose "
                                   "activations a node keeps at a time |"));
  CHECK_THAT(docs, Catch::Contains("| `recovery.policy` | one of \"checkfree\", \"checkfree+\", \"mirror\", "
                                   "\"checkpoint\" and \"replica\" | \"mirror\" |"));
  CHECK_THAT(docs, Catch::Contains("| `model.hidden_size` | a whole number, 1 to 65536 | required |"));
}

TEST_CASE("Edit distance counts a swap of neighbours once") {
  CHECK(edit_distance("", "abc") == 3);
  CHECK(edit_distance("stpes", "steps") == 1);
  CHECK(edit_distance("kitten", "sitting") == 3);
}

TEST_CASE("Example jobs are valid") {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(SIDESTEP_SOURCE_DIR "/configs/jobs")) {
    const Result<JobSpec> job = load_job(entry.path().string());
    INFO(entry.path() << ": " << job.status().message());
    CHECK(job.ok());
    ++count;
  }
  CHECK(count >= 2);
}
