"""`scripts/bench wan`: swarms of real daemons whose links and task times are emulated (docs/emulate.md), as far apart
as cloud regions: our plans against the best full pipelines and full pipelines in columns as published (`dtfm`), each
planned with the same budget and then run. Times are scaled down, so that a minute of the emulated swarm takes some
seconds and 2 cores are enough for all; every figure is in seconds of the emulated swarm.

  published20  20 daemons, the published instance: the planner's plans of the three methods, run as they are
  averaging    20 daemons in the regions of wan.json, stages large enough that averaging counts
  swarm12      12 daemons in the twelve regions of wan.json; the scheduler measures and plans by itself

`predicted_s` is the planner's cost model over the instance; for the scheduler's own plans what `sidestep status` says.
`step_s` is the median over the steps after the first two, from commit to commit, by the run record.
"""

import json
import pathlib
import tempfile

import bench_plan_instances as make
import bench_swarm
from bench_swarm import Swarm, make_tokens, measured, say, write_json

ROOT = pathlib.Path(__file__).resolve().parent.parent
INSTANCES = ROOT / "configs" / "instances"
PARTS = ("published20", "averaging", "swarm12")
METHODS = ("sidestep", "full", "dtfm")
SKIP_RATIO = 1 / 3

# What the daemons really train: 32 KiB of activations a microbatch, stages of 0.8 MB (0.2M parameters; stage 0 1.8 MB).
# A job of make.job() sends 8 MiB a microbatch and has stages of 200 MB: 256 times as much.
MODEL = {"vocab_size": 1000, "hidden_size": 128, "intermediate_size": 342, "num_attention_heads": 4}
SEQUENCE_LENGTH = 64
SMALLER = 256


def layer_parameters():
    hidden, intermediate = MODEL["hidden_size"], MODEL["intermediate_size"]
    return 4 * hidden**2 + 3 * hidden * intermediate + 2 * hidden


def stage_bytes(stages):
    first = (2 * MODEL["vocab_size"] + 1) * MODEL["hidden_size"]
    return [4 * (layer_parameters() + (first if stage == 0 else 0)) for stage in range(stages)]


class Bench:
    def __init__(self, options, folder):
        self.options, self.program, self.folder = options, options.program, folder
        self.tokens = make_tokens(folder / "tokens.bin", MODEL["vocab_size"], 200_000)

    def plan(self, instance, method, name):
        """The plan of one method, with nodes called as `sidestep up` calls them, and its prediction."""
        path = self.folder / f"{name}-{method}.json"
        report = json.loads(bench_swarm.run(self.program, "plan", instance, "--method", method, "--budget",
                                f"{self.options.budget}s", "--seed", self.options.seed, "--out", path, "--json"))
        row = next(row for row in report["plans"] if row["method"] == method)
        plan = json.loads(path.read_text())
        nickname = {str(node["id"]): f"node-{i + 1}"
                    for i, node in enumerate(json.loads(pathlib.Path(instance).read_text())["nodes"])}

        def named(hop):
            return [hop[0], nickname[str(hop[1])]] if isinstance(hop, list) else nickname[str(hop)]

        return row, {
            "stage_of": {nickname[node]: held for node, held in plan["stage_of"].items()},
            "slots_of": {nickname[node]: slots for node, slots in plan["slots_of"].items()},
            "paths": [{"microbatch": path["microbatch"], "hops": [named(hop) for hop in path["hops"]]}
                      for path in plan["paths"]]}

    def job(self, name, *, stages, microbatches, skip_ratio, visit_slack, steps, plan=None):
        full = skip_ratio == 0
        return write_json(self.folder / f"{name}.json", {
            "name": name, "steps": steps, "seed": 1, "precision": "float32",
            "model": {**MODEL, "num_hidden_layers": stages, "max_position_embeddings": SEQUENCE_LENGTH},
            "pipeline": {"stages": stages, "microbatches_per_step": microbatches, "microbatch_size": 1, "slots": 3,
                         "skip_ratio": skip_ratio, "max_swaps": 0 if full else 2, "visit_slack": visit_slack,
                         "plan": plan},
            "data": {"path": str(self.tokens), "format": "tokens", "sequence_length": SEQUENCE_LENGTH},
            "optimizer": {"learning_rate": 1e-4}})

    def run(self, swarm, job, predicted_s):
        """One job; `predicted_s` is none where the scheduler makes the plan."""
        scale = self.options.scale
        say(f"wan: {job.stem}")
        name, status = swarm.finish(job)
        found = {key: value / scale if key.endswith("_s") else value
                 for key, value in measured(swarm.step_seconds(name)).items()}
        told_s = status["predicted_step_s"] / scale if status.get("predicted_step_s") else None
        predicted_s = told_s if predicted_s is None else predicted_s
        return {"predicted_s": predicted_s, **found, "measured_to_predicted": found["step_s"] / predicted_s}

    def swarm(self, name, nodes, emulate):
        return Swarm(self.program, self.folder / f"{name}-swarm", nodes, "--emulate", emulate, "--emulate-scale",
                     self.options.scale)

    def planned(self, swarm, name, instance, methods, *, microbatches, visit_slack, stages=6):
        """Each method's plan, run as it is."""
        rows = {}
        for method in methods:
            row, plan = self.plan(instance, method, name)
            predicted_s = row.get("step_s", row.get("makespan_s"))
            job = self.job(f"{name}-{method}", stages=stages, microbatches=microbatches, plan=plan,
                           skip_ratio=SKIP_RATIO if method == "sidestep" else 0, visit_slack=visit_slack,
                           steps=self.options.steps)
            rows[method] = {"predicted_makespan_s": row["makespan_s"], **self.run(swarm, job, predicted_s)}
        return rows


def below(rows, key="step_s"):
    """By how much ours is below the others, as shares."""
    ours = rows["sidestep"]
    return {f"below_{method}": 1 - ours[key] / rows[method][key] for method in METHODS[1:] if method in rows}


def part_published20(bench):
    instance = INSTANCES / "published20.json"
    with bench.swarm("published20", 20, instance) as swarm:
        rows = bench.planned(swarm, "published20", instance, METHODS, microbatches=30, visit_slack=0)
    return {"nodes": 20, "stages": 6, "methods": rows, "measured": below(rows), "predicted": below(rows, "predicted_s"),
            "required": {"below_full": 0.50, "below_dtfm": 0.65}}


def wan_instance(bench, nodes, stages):
    """A job of make.job() in the regions of wan.json; its bytes, and so all bandwidths, divided by SMALLER."""
    path = bench.folder / "wan20.json"
    job = make.write(bench.folder / "wan-job.json", make.job(stages, 2 * nodes))
    bench_swarm.run(bench.program, "plan", "--from-wan", INSTANCES / "wan.json", "--nodes", nodes, "--model", job, "--skip-ratio",
        SKIP_RATIO, "--seed", 1, "--write-instance", path)
    instance = json.loads(path.read_text())
    instance["stage_bytes"] = stage_bytes(stages)
    instance["bandwidth_bytes_per_s"] = [[value and value / SMALLER for value in row]
                                         for row in instance["bandwidth_bytes_per_s"]]
    return write_json(path, instance)


def part_averaging(bench):
    nodes, stages = 20, 6
    instance = wan_instance(bench, nodes, stages)
    with bench.swarm("averaging", nodes, instance) as swarm:
        rows = bench.planned(swarm, "averaging", instance, METHODS[:2] if bench.options.quick else METHODS,
                             microbatches=2 * nodes, visit_slack=1)
    ours, full = rows["sidestep"], rows["full"]
    return {"nodes": nodes, "stages": stages, "stage_bytes": [SMALLER * size for size in stage_bytes(stages)],
            "methods": rows, "measured": below(rows), "predicted": below(rows, "predicted_s"),
            "makespan_below_full_step": 1 - ours["predicted_makespan_s"] / full["step_s"],
            "required": {"below_full": 0.30, "makespan_below_full_step": 0.30}}


def part_swarm12(bench):
    nodes, stages = 12, 4
    wan = json.loads((INSTANCES / "wan.json").read_text())
    for link in [wan["same_region"], *wan["links"]]:
        link["bandwidth_gib_s"] /= SMALLER
    regions = sorted({link[end] for link in wan["links"] for end in ("from", "to")})
    times = {"forward_s": 0.44, "backward_s": 0.88, "head_s": 0.11}
    table = write_json(bench.folder / "wan12.json",
                       {"wan": wan, "nodes": [{"region": regions[i % len(regions)], **times} for i in range(nodes)]})
    rows = {}
    with bench.swarm("swarm12", nodes, table) as swarm:
        for method, skip_ratio in (("sidestep", SKIP_RATIO), ("full", 0)):
            job = bench.job(f"swarm12-{method}", stages=stages, microbatches=2 * nodes, skip_ratio=skip_ratio,
                            visit_slack=1, steps=bench.options.steps)
            rows[method] = bench.run(swarm, job, None)
    return {"nodes": nodes, "stages": stages, "methods": rows, "measured": below(rows),
            "predicted": below(rows, "predicted_s")}


def add_flags(parser):
    parser.add_argument("--quick", action="store_true", help="fewer steps and methods, in about six minutes")
    parser.add_argument("--scale", type=float, default=0.2, help="factor on all emulated times (default: 0.2)")
    parser.add_argument("--steps", type=int, help="of each job, of which the first 2 are not timed (default: 6)")
    parser.add_argument("--budget", type=float, default=2, help="seconds of planning for each method (default: 2)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"some of: {', '.join(PARTS)}")
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE", help="write the JSON there too")


def run_parts(options):
    parts = {"published20": part_published20, "averaging": part_averaging, "swarm12": part_swarm12}
    options.steps = options.steps or (4 if options.quick else 6)
    with tempfile.TemporaryDirectory(prefix="sidestep-bench.") as name:
        bench = Bench(options, pathlib.Path(name))
        return {part: parts[part](bench) for part in options.only or PARTS}


def run(options):
    return {"what": "steps of emulated swarms of real daemons, in seconds of the emulated swarm", "scale": options.scale,
            "planning_budget_s": options.budget, "skip_ratio": SKIP_RATIO, **run_parts(options)}
