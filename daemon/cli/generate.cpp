// sidestep generate: the flags. What it does needs LibTorch and comes from the program's wiring.
#include <limits>
#include <memory>

#include "daemon/cli/commands.h"
#include "daemon/cli/flags.h"

namespace sidestep::cli {
namespace {

void add_prompt_flags(CLI::App& command, GenerateRequest& request, CLI::Option* perplexity) {
  CLI::Option* text =
      command.add_option("--prompt", request.prompt, "Text to go on from; default: the beginning of a text")
          ->type_name("TEXT");
  CLI::Option* file =
      command.add_option("--prompt-file", request.prompt_file, "The same from a file; - is standard input")
          ->type_name("FILE");
  CLI::Option* tokens = command
                            .add_option("--prompt-tokens", request.prompt_tokens,
                                        "The same as token numbers; the output is token numbers too")
                            ->delimiter(',')
                            ->check(whole_number(0, (1 << 24) - 1))
                            ->type_name("1,2,3");
  text->excludes(file)->excludes(tokens)->excludes(perplexity);
  file->excludes(tokens)->excludes(perplexity);
  tokens->excludes(perplexity);
}

void add_sampling_flags(CLI::App& command, GenerateRequest& request) {
  command
      .add_option("--max-tokens", request.max_tokens,
                  "New tokens of a sample; default: as many as the model has room for, at most 256")
      ->check(whole_number(1, 1 << 24));
  command.add_option("--temperature", request.temperature, "0: always the most likely token")
      ->check(number(0, 1000))
      ->capture_default_str();
  command.add_option("--top-k", request.top_k, "Only of the K most likely tokens; 0: of all")
      ->check(whole_number(0, 1 << 24))
      ->capture_default_str();
  command
      .add_option("--top-p", request.top_p,
                  "Only of the fewest most likely tokens that have this probability together; 1: of all")
      ->check(number(0, 1))
      ->capture_default_str();
  command.add_option("--seed", request.seed, "The same seed gives the same samples")
      ->check(whole_number(0, std::numeric_limits<std::int64_t>::max()))
      ->capture_default_str();
  command.add_option("--samples", request.samples, "How many texts")
      ->check(whole_number(1, 100'000))
      ->capture_default_str();
}

}  // namespace

void add_generate(CLI::App& app, Chosen& chosen, const Wiring& wiring) {
  auto request = std::make_shared<GenerateRequest>();
  CLI::App* command = add_command(
      app, "generate", "Sample text from a model, or measure how well it predicts a file.",
      "sidestep generate --model exported --prompt \"In the beginning\" --max-tokens 100 --top-k 40");
  auto flags = std::make_shared<OperatorFlags>();
  CLI::Option_group* source = command->add_option_group("model", "Whose model");
  source->add_option("--model", request->model, "Hugging Face LLaMA folder, such as an export")
      ->type_name("DIR");
  source->add_option("--job", request->job, "Job whose weights are taken, as by `sidestep export`")
      ->type_name("JOB");
  source->require_option(1);
  CLI::Option* perplexity =
      command
          ->add_option("--perplexity", request->perplexity,
                       "Instead of sampling: loss and perplexity on a text, .jsonl or token file")
          ->type_name("FILE");
  add_prompt_flags(*command, *request, perplexity);
  add_sampling_flags(*command, *request);
  command
      ->add_option(
          "--sequence-length", request->sequence_length,
          "For --perplexity: tokens to predict from; default: what the model is made for, at most 1024")
      ->check(whole_number(1, 1 << 20))
      ->needs(perplexity);
  command
      ->add_option("--stages", request->stages,
                   "Stages that the model is cut into; default: what an export says, else 1")
      ->check(whole_number(1, 1'024));
  command->add_option("--skip-stages", request->skip_stages, "Run with these stages left out")
      ->delimiter(',')
      ->check(whole_number(0, 1'023))
      ->type_name("2,3");
  command->add_option("--device", request->device, "Where to compute")->capture_default_str();
  command->add_option("--precision", request->precision, "Of compute")
      ->check(one_of({"float32", "bfloat16"}))
      ->capture_default_str();
  command->add_option("--threads", request->threads, "Compute threads; default: one per core")
      ->check(whole_number(1, 4096));
  add_operator_flags(*command, *flags);
  const auto run = wiring.generate;
  command->callback([request, flags, run, &chosen] {
    request->config = flags->config;
    request->json = flags->json;
    chosen = [request, run] { return run(*request); };
  });
}

}  // namespace sidestep::cli
