// The program: the one place that joins the command line and the drivers with what needs LibTorch.
#include "daemon/cli/app.h"
#include "daemon/executor/executor.h"
#include "daemon/executor/machine.h"
#include "daemon/executor/torch_runner.h"
#include "daemon/solo_command.h"

namespace {

using namespace sidestep;

class ExecutorThread : public driver::TaskThread {
 public:
  ExecutorThread(const driver::TaskThreadOptions& options,
                 std::function<void(daemon::Completion)> on_completion)
      : memory_bytes_(options.memory_bytes > 0 ? options.memory_bytes : daemon::memory_limit_bytes()),
        executor_(
            [options, memory = memory_bytes_] {
              daemon::TorchRunnerOptions torch;
              torch.device = options.device;
              torch.threads = options.threads;
              torch.memory_bytes = memory;
              return std::make_unique<daemon::TorchRunner>(torch);
            },
            std::move(on_completion)) {}

  void start(daemon::TaskId id, daemon::Task task) override { executor_.start(id, std::move(task)); }
  std::uint64_t memory_bytes() const override { return memory_bytes_; }
  std::string device_class() const override { return daemon::device_class(); }

 private:
  std::uint64_t memory_bytes_;
  daemon::Executor executor_;
};

}  // namespace

int main(int argc, char** argv) {
  cli::Wiring wiring;
  wiring.task_thread =
      [](const driver::TaskThreadOptions& options,
         std::function<void(daemon::Completion)> on_completion) -> std::unique_ptr<driver::TaskThread> {
    return std::make_unique<ExecutorThread>(options, std::move(on_completion));
  };
  wiring.solo = run_solo_command;
  wiring.machine = [] {
    const daemon::LibTorch libtorch = daemon::loaded_libtorch();
    return driver::MachineFacts{daemon::memory_limit_bytes(), libtorch.wanted, libtorch.version,
                                libtorch.folder};
  };
  return cli::run(argc, argv, wiring);
}
