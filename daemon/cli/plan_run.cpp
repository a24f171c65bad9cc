// What `sidestep plan` does once its flags are known.
#include <algorithm>
#include <cstdio>
#include <thread>

#include "daemon/cli/app.h"
#include "daemon/cli/drawing/plan_drawing.h"
#include "daemon/cli/flags.h"
#include "daemon/cli/plan_report.h"
#include "daemon/cli/plan_request.h"
#include "daemon/data/atomic_output.h"
#include "daemon/driver/plan_machine.h"
#include "net/clock.h"
#include "scheduler/nearest.h"
#include "scheduler/options.h"
#include "scheduler/planner/instance_json.h"
#include "scheduler/planner/planner.h"
#include "scheduler/planner/wan.h"

namespace sidestep::cli {
namespace {

using scheduler::Instance;
using scheduler::PathPlan;
using scheduler::PlanMethod;

Result<Instance> instance_of(const PlanRequest& request) {
  if (request.from_wan.empty()) return scheduler::load_instance(request.instance);
  const auto table = scheduler::load_wan(request.from_wan);
  if (!table.ok()) return table.status();
  const auto regions = scheduler::wan_nodes(table.value(), request.nodes);
  if (!regions.ok()) return regions.status().with_context("--nodes");
  const auto job = scheduler::load_job(request.model);
  if (!job.ok()) return job.status();
  const double skip_ratio = request.skip_ratio.value_or(job.value().pipeline.skip.back().ratio);
  const scheduler::WanWork work = scheduler::wan_work(job.value(), skip_ratio);
  scheduler::WanOptions options;
  options.seed = static_cast<std::uint64_t>(request.seed);
  return scheduler::instance_from_wan(table.value(), regions.value(), work, options);
}

// One plan out of a file that may hold several.
Result<nlohmann::json> plan_in(const PlanRequest& request) {
  auto file = scheduler::load_json_file(request.start);
  if (!file.ok()) return file.status();
  const nlohmann::json& json = file.value();
  if (!json.is_object() || !json.contains("plans") || !json["plans"].is_array()) {
    if (request.start_name.empty()) return file;
    return Status::invalid(request.start +
                           ": holds one plan without a name, --start-name has nothing to choose from");
  }
  std::vector<std::string> names;
  std::string listed;
  for (const nlohmann::json& plan : json["plans"]) {
    const auto name = plan.is_object() ? plan.find("name") : plan.end();
    if (!plan.is_object() || name == plan.end() || !name->is_string()) continue;
    if (*name == request.start_name) return plan;
    names.push_back(name->get<std::string>());
    listed += (listed.empty() ? "\"" : ", \"") + names.back() + "\"";
  }
  if (json["plans"].size() == 1 && request.start_name.empty()) return json["plans"][0];
  if (request.start_name.empty())
    return Status::invalid(request.start + ": holds " + std::to_string(json["plans"].size()) +
                           " plans; choose one with --start-name: " + listed);
  const std::string near = scheduler::nearest(request.start_name, names);
  return Status::not_found(request.start + ": no plan \"" + request.start_name + "\"; " +
                           (near.empty() ? "there are " + listed : "did you mean \"" + near + "\"?"));
}

Result<PathPlan> start_of(const PlanRequest& request, const Instance& instance) {
  const auto json = plan_in(request);
  if (!json.ok()) return json.status();
  return scheduler::parse_path_plan(json.value(), instance, request.start);
}

PlanRow row_of_start(const Instance& instance, const PathPlan& start) {
  PlanRow row;
  row.name = "start";
  row.plan = start;
  row.evaluation = scheduler::evaluate(instance, start);
  row.bound = scheduler::lower_bound(instance);
  return row;
}

// The bound of a plan that must keep its placement is that of the instance with this placement.
Instance with_placement(Instance instance, const PathPlan& plan) {
  instance.stage_of = plan.stage_of;
  instance.stage_sizes.clear();
  return instance;
}

scheduler::PlanOptions options_of(const PlanRequest& request, std::size_t threads) {
  const scheduler::PlanOptions defaults;
  scheduler::PlanOptions options;
  options.seed = static_cast<std::uint64_t>(request.seed);
  options.work = static_cast<std::uint64_t>(request.work);
  if (request.work == 0) options.budget_us = parse_duration_s(request.budget).value() * net::second;
  options.lanes = request.lanes > 0  ? static_cast<std::uint32_t>(request.lanes)
                  : request.work > 0 ? defaults.lanes
                                     : static_cast<std::uint32_t>(std::min<std::size_t>(threads, 1024));
  options.keep_placement = request.keep_placement;
  return options;
}

PlanRow row_of_method(const std::string& name, const Instance& instance, scheduler::PlanOptions options,
                      const scheduler::PlanMachine& machine) {
  PlanRow row;
  row.name = name;
  options.method = *scheduler::plan_method(name);
  // Baselines begin anew.
  if (options.method != PlanMethod::sidestep) options.start.reset();
  const std::int64_t begin_us = net::monotonic_us();
  auto made = scheduler::make_plan(instance, options, machine);
  if (!made.ok()) {
    row.problem = made.status();
    return row;
  }
  scheduler::PlanResult result = std::move(made).value();
  row.search = PlanRow::Search{result.evaluations, static_cast<double>(net::monotonic_us() - begin_us) / 1e6,
                               result.first_us, result.moving_us};
  const Instance judged = scheduler::for_method(instance, options.method);
  row.plan = std::move(result.plan);
  row.evaluation = scheduler::evaluate(judged, row.plan);
  row.bound = scheduler::lower_bound(judged);
  return row;
}

Status write_plan(const std::string& path, const Instance& instance, const PathPlan& plan) {
  return daemon::write_file(path, by_lines(to_json(plan, instance)));
}

Status write_drawing(const std::string& path, const Instance& instance, const PlanRow& row) {
  const std::string title = (instance.name.empty() ? "" : instance.name + ": ") +
                            (row.name == "start" ? "the plan to start with" : "plan of " + row.name);
  return daemon::write_file(path, draw_plan(instance, row.plan, row.evaluation, title));
}

void print(const nlohmann::ordered_json& json) {
  std::printf("%s\n", json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
}

int show_evaluation(const PlanRequest& request, const Instance& instance, const PathPlan& start) {
  const PlanRow row = row_of_start(instance, start);
  if (!request.svg.empty())
    if (const Status written = write_drawing(request.svg, instance, row); !written.ok()) return fail(written);
  if (request.json)
    print(evaluation_json(instance, row));
  else
    std::printf("%s", evaluation_page(instance, row).c_str());
  return is_sound(row.evaluation) ? exit_ok : exit_failed;
}

int write_instance(const PlanRequest& request, const Instance& instance) {
  const Status written = daemon::write_file(request.write_instance, by_lines(to_json(instance)));
  if (!written.ok()) return fail(written);
  if (request.json)
    print({{"instance", request.write_instance},
           {"nodes", instance.node_count()},
           {"stages", instance.stages},
           {"microbatches", instance.microbatches}});
  else
    std::printf("%zu nodes, %u stages, %u microbatches in %s; plan them: sidestep plan %s\n",
                instance.node_count(), instance.stages, instance.microbatches, request.write_instance.c_str(),
                request.write_instance.c_str());
  return exit_ok;
}

// So that no search is in vain.
Status check_writable(const PlanRequest& request) {
  for (const std::string& path : {request.out, request.svg})
    if (!path.empty())
      if (const auto file = daemon::AtomicFile::create(path); !file.ok()) return file.status();
  return {};
}

// The plan of the one method, or of sidestep among several.
Status write_chosen(const PlanRequest& request, const Instance& instance, const std::vector<PlanRow>& rows) {
  const std::string name = request.methods.size() == 1 ? request.methods.front() : "sidestep";
  for (const PlanRow& row : rows) {
    if (row.name != name || !row.problem.ok()) continue;
    if (!request.out.empty())
      if (const Status written = write_plan(request.out, instance, row.plan); !written.ok()) return written;
    if (!request.svg.empty()) return write_drawing(request.svg, instance, row);
  }
  return {};
}

void print_rows(const PlanRequest& request, const Instance& instance, const scheduler::PlanOptions& options,
                std::size_t threads, const std::vector<PlanRow>& rows) {
  if (!request.json) {
    std::printf("%s", plans_table(instance, rows).c_str());
    return;
  }
  nlohmann::ordered_json report = {{"instance", instance.name},
                                   {"nodes", instance.node_count()},
                                   {"stages", instance.stages},
                                   {"microbatches", instance.microbatches},
                                   {"seed", options.seed},
                                   {"threads", threads},
                                   {"lanes", options.lanes},
                                   {"budget_s", nullptr},
                                   {"work", nullptr}};
  if (options.work > 0)
    report["work"] = options.work;
  else
    report["budget_s"] = options.budget_us / net::second;
  report["plans"] = plans_json(instance, rows);
  print(report);
}

}  // namespace

int run_plan(const PlanRequest& request) {
  auto loaded = instance_of(request);
  if (!loaded.ok()) return fail(loaded.status());
  Instance instance = std::move(loaded).value();
  if (!request.write_instance.empty()) return write_instance(request, instance);

  const std::size_t threads = request.threads > 0 ? static_cast<std::size_t>(request.threads)
                                                  : std::max(1u, std::thread::hardware_concurrency());
  scheduler::PlanOptions options = options_of(request, threads);
  std::vector<PlanRow> rows;
  if (!request.start.empty()) {
    const auto start = start_of(request, instance);
    if (!start.ok()) return fail(start.status());
    if (request.evaluate) return show_evaluation(request, instance, start.value());
    if (request.keep_placement) instance = with_placement(instance, start.value());
    options.start = start.value();
    rows.push_back(row_of_start(instance, start.value()));
  } else if (request.keep_placement && !instance.placement_fixed()) {
    return fail(Status::invalid((request.instance.empty() ? request.from_wan : request.instance) +
                                ": --keep-placement: there is no \"stage_of\"; add it, or give --start"));
  }
  if (const Status feasible = scheduler::check_feasible(instance); !feasible.ok()) return fail(feasible);
  if (const Status writable = check_writable(request); !writable.ok()) return fail(writable);

  const scheduler::PlanMachine machine = driver::plan_machine(threads);
  for (const std::string& method : request.methods)
    rows.push_back(row_of_method(method, instance, options, machine));
  print_rows(request, instance, options, threads, rows);
  const Status written = write_chosen(request, instance, rows);
  int status = written.ok() ? static_cast<int>(exit_ok) : fail(written);
  for (const PlanRow& row : rows)
    if (!row.problem.ok()) status = fail(row.problem.with_context(row.name));
  return status;
}

}  // namespace sidestep::cli
