// sidestep export: the flags. What it does needs the model's layout and comes from the program's wiring.
#include <memory>

#include "daemon/cli/commands.h"
#include "daemon/cli/flags.h"

namespace sidestep::cli {

void add_export(CLI::App& app, Chosen& chosen, const Wiring& wiring) {
  auto request = std::make_shared<ExportRequest>();
  auto flags = std::make_shared<OperatorFlags>();
  CLI::App* command = add_command(app, "export",
                                  "Write a job's weights as a Hugging Face folder: of its next commit while "
                                  "it runs, else the last it saved.",
                                  "sidestep export quickstart-1 --out run/model");
  command->add_option("job", request->job, "Job")->required()->type_name("JOB");
  command->add_option("--out", request->out, "Folder to write; an older export there is replaced as a whole")
      ->required()
      ->type_name("DIR");
  command->add_option("--precision", request->precision, "Of the written weights")
      ->capture_default_str()
      ->check(one_of({"float32", "bfloat16"}));
  command->add_flag("--rebuild", request->rebuild,
                    "Make stages that only absent nodes have saved out of their neighbours; not stage 0");
  add_operator_flags(*command, *flags);
  const auto run_export = wiring.export_job;
  command->callback([request, flags, run_export, &chosen] {
    request->config = flags->config;
    request->json = flags->json;
    chosen = [request, run_export] { return run_export(*request); };
  });
}

}  // namespace sidestep::cli
