// The program: the one place that joins the command line and the drivers with what needs LibTorch.
#include "daemon/cli/app.h"
#include "daemon/executor/device.h"
#include "daemon/executor/executor.h"
#include "daemon/executor/machine.h"
#include "daemon/executor/torch_runner.h"
#include "daemon/export_command.h"
#include "daemon/generate_command.h"
#include "daemon/solo_command.h"

namespace {

using namespace sidestep;

class ExecutorThread : public driver::TaskThread {
 public:
  // `device` was opened as options.device.
  ExecutorThread(const driver::TaskThreadOptions& options, at::Device device,
                 std::function<void(daemon::Completion)> on_completion)
      : memory_bytes_(options.memory_bytes > 0 ? options.memory_bytes : daemon::device_memory_bytes(device)),
        device_class_(daemon::device_class(device)),
        executor_(
            [options] {
              daemon::TorchRunnerOptions torch;
              torch.device = options.device;
              torch.threads = options.threads;
              torch.memory_bytes = options.memory_bytes;
              torch.snapshot_folder = options.snapshot_folder;
              torch.snapshots_kept = options.snapshots_kept;
              return std::make_unique<daemon::TorchRunner>(torch);
            },
            std::move(on_completion)) {}

  void start(daemon::TaskId id, daemon::Task task) override { executor_.start(id, std::move(task)); }
  std::uint64_t memory_bytes() const override { return memory_bytes_; }
  std::string device_class() const override { return device_class_; }

 private:
  std::uint64_t memory_bytes_;
  std::string device_class_;
  daemon::Executor executor_;
};

}  // namespace

int main(int argc, char** argv) {
  cli::Wiring wiring;
  wiring.task_thread = [](const driver::TaskThreadOptions& options,
                          std::function<void(daemon::Completion)> on_completion) -> driver::TaskThreadResult {
    const auto device = daemon::open_device(options.device);
    if (!device.ok()) return device.status();
    return driver::TaskThreadResult(
        std::make_unique<ExecutorThread>(options, device.value(), std::move(on_completion)));
  };
  wiring.solo = run_solo_command;
  wiring.export_job = run_export_command;
  wiring.generate = run_generate_command;
  wiring.machine = [](const std::string& name) {
    driver::MachineFacts facts;
    if (const auto device = daemon::open_device(name); device.ok()) {
      facts.device_class = daemon::device_class(device.value());
      facts.memory_limit_bytes = daemon::device_memory_bytes(device.value());
    } else {
      facts.device_problem = device.status().message();
    }
    const daemon::LibTorch libtorch = daemon::loaded_libtorch();
    facts.libtorch_wanted = libtorch.wanted;
    facts.libtorch_found = libtorch.version;
    facts.libtorch_folder = libtorch.folder;
    return facts;
  };
  return cli::run(argc, argv, wiring);
}
