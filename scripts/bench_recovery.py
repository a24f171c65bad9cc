"""scripts/bench recovery: what the loss of a stage's only host costs, and what it costs to be ready for it.

loss      Six daemons with emulated task times on loopback, five stages. The only host of a stage is killed (SIGKILL), and
          started again when its stage is back, several times over: how long to the next finished step, beyond an ordinary one;
          whether the record has every step once; how long each part of the recovery took, by the log.
slow      The same over links so slow that the rebuild lasts at least ten steps: steps per second while it lasts against before.
transfer  Stages of 100 MB of weights (300 MB with Adam's moments) on bare loopback: seconds from the loss being seen to the
          rebuild, to the stage being held again, and to its first step.
cost      The same small job with every policy and nothing lost, interleaved: the median step against that of policy replica.
"""

import contextlib
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import tempfile
import time

from bench_swarm import ENDED, SKIPPED_STEPS, Swarm, fail, make_tokens, say, write_json

LEAST = {"forward_s": 0.02, "backward_s": 0.04, "head_s": 0.01}
LIMIT_S = 120
POLICIES = ("replica", "checkfree", "mirror")


def table(nodes, mebibytes_s):
    link = {"latency_ms": 2, "bandwidth_gib_s": mebibytes_s / 1024}
    return {"wan": {"same_region": link, "links": [{"from": "east", "to": "west", **link}]}, "fifo": True,
            "nodes": [{"region": "east", **LEAST} for _ in range(nodes)]}


def job_of(folder, stages, *, steps=1_000_000, hidden=64, layers=None, microbatches=8, recovery=None):
    tokens = make_tokens(folder / "tokens.bin", 256, 200_000)
    return {"name": "recovery", "steps": steps, "seed": 1, "precision": "float32",
            "model": {"vocab_size": 256, "hidden_size": hidden, "intermediate_size": 2 * hidden,
                      "num_hidden_layers": layers or stages, "num_attention_heads": 2},
            "pipeline": {"stages": stages, "microbatches_per_step": microbatches, "microbatch_size": 1, "slots": 4},
            "data": {"path": str(tokens), "format": "tokens", "sequence_length": 64},
            "optimizer": {"learning_rate": 1e-3}, "recovery": recovery or {}}


def stage_bytes(job):
    """Weights of a stage above 0, in float32."""
    model, pipeline = job["model"], job["pipeline"]
    hidden, intermediate = model["hidden_size"], model["intermediate_size"]
    return 4 * model["num_hidden_layers"] // pipeline["stages"] * (4 * hidden**2 + 3 * hidden * intermediate + 2 * hidden)


class Watched:
    """A job on a swarm, watched by asking for its status."""

    def __init__(self, program, folder, nodes, job, emulate=None):
        self.program, self.folder = program, folder / "swarm"
        flags = ["--emulate", write_json(folder / "emulate.json", emulate)] if emulate else []
        self.stack = contextlib.ExitStack()
        self.swarm = self.stack.enter_context(Swarm(program, self.folder, nodes, *flags))
        self.again = {}
        self.pids = {node["key"]: node["pid"] for node in self.swarm.about["nodes"]}
        self.names = {node["key"]: node["nickname"] for node in self.swarm.about["nodes"]}
        self.id = self.swarm.ask_json("submit", write_json(folder / "job.json", job))["job"]

    def __enter__(self):
        return self

    def __exit__(self, *about):
        for process in self.again.values():
            process.send_signal(signal.SIGINT)
            process.wait()
        self.stack.__exit__(*about)

    def status(self):
        job = self.swarm.ask_json("status", self.id)["job"]
        if job["state"] in ENDED:
            fail(f"the job ended as {job['state']}: {job['reason']}")
        return job

    def wait(self, what, condition):
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            job = self.status()
            if condition(job):
                return job
            time.sleep(0.01)
        fail(f"waited {LIMIT_S} s for {what}; logs are in {self.folder}/logs")

    def wait_steps(self, steps):
        first = self.status()["commit"] or 0
        return self.wait(f"{steps} steps", lambda job: (job["commit"] or 0) >= max(first, SKIPPED_STEPS) + steps)

    def lose(self, stage):
        """Kills the stage's only host; its key, when that was, and the last commit before."""
        job = self.wait(f"one host of stage {stage}", lambda job: len(job["stages"][stage]) == 1)
        key = job["stages"][stage][0]
        os.kill(self.pids[key], signal.SIGKILL)
        return key, time.monotonic(), time.time(), job["commit"]

    def start_again(self, key):
        config = self.folder / self.names[key] / "node.json"
        if key in self.again:
            self.again[key].wait()
        self.again[key] = subprocess.Popen([str(self.program), "daemon", "--config", str(config)],
                                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.pids[key] = self.again[key].pid

    def wait_said(self, pattern, since_s):
        """When the log said so."""
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            self.status()
            at, _ = self.said(pattern, since_s)
            if at:
                return at
            time.sleep(0.1)
        fail(f"nobody said \"{pattern}\" within {LIMIT_S} s; logs are in {self.folder}/logs")

    def record(self):
        return [json.loads(line) for line in self.swarm.ask("record", self.id, "--json").splitlines()[1:]]

    def said(self, pattern, since_s):
        """When a line of the log was written that fits, after that time; the first."""
        for line in self.swarm.logs(self.id):
            if line["time_us"] / 1e6 >= since_s - 0.001 and re.search(pattern, line["text"]):
                return line["time_us"] / 1e6, line["text"]
        return None, ""


def broken_steps(record):
    """Steps that are not in the record exactly once, or microbatches that are not in their step exactly once."""
    steps = [line["step"] for line in record]
    problems = [f"step {later} follows {earlier}" for earlier, later in zip(steps, steps[1:]) if later != earlier + 1]
    for line in record[1:]:
        routes = [route["microbatch"] for route in line.get("routes", [])]
        if len(routes) != len(set(routes)):
            problems.append(f"step {line['step']} has a microbatch twice")
    return problems


def recovery_of(record, stage, after):
    for line in record:
        if line["step"] > after:
            for one in line.get("recoveries", []):
                if one["stage"] == stage:
                    return line["step"], one
    fail(f"the record does not say that stage {stage} was rebuilt")


def one_loss(watched, stage):
    watched.wait_steps(8)
    key, killed_s, killed_wall_s, before = watched.lose(stage)
    watched.wait("the step after the loss", lambda job: (job["commit"] or 0) > before)
    first_s = time.monotonic() - killed_s
    returned = watched.wait_said(f"stage {stage} is back", killed_wall_s)
    watched.start_again(key)
    record = watched.record()
    back, rebuilt = recovery_of(record, stage, before)
    ordinary = statistics.median(line["duration_us"] / 1e6 for line in record if SKIPPED_STEPS < line["step"] <= before)
    seen, _ = watched.said("is lost, which held", killed_wall_s)
    planned, _ = watched.said(r"^plan \d+, without", killed_wall_s)
    return {"stage": stage, "to_next_step_s": first_s, "ordinary_step_s": ordinary, "beyond_ordinary_s": first_s - ordinary,
            "detect_s": seen - killed_wall_s, "replan_s": planned - seen, "transfer_s": rebuilt["duration_us"] / 1e6,
            "out_steps": back - before - 1, "seen_to_back_s": returned - seen}


def bench_loss(options, folder):
    stages = 5
    with Watched(options.program, folder, 6, job_of(folder, stages, recovery={"origins": 2}), table(6, 1024)) as watched:
        losses = [one_loss(watched, 1 + n % (stages - 1)) for n in range(options.losses)]
        problems = broken_steps(watched.record())
    return {"nodes": 6, "stages": stages, "least_task_times": LEAST, "losses": losses, "steps_lost_or_repeated": problems,
            "beyond_ordinary_s": statistics.median(one["beyond_ordinary_s"] for one in losses), "required_s": 2}


def bench_slow(options, folder):
    """One node a stage, so that nothing is averaged: the links carry activations and the rebuild alone. The node that
    was killed comes back with nothing, and rebuilds its stage."""
    stages, speed = 5, 8
    job = job_of(folder, stages, hidden=512, layers=10, microbatches=8, recovery={"origins": 1})
    with Watched(options.program, folder, stages, job, table(stages, speed)) as watched:
        watched.wait_steps(12)
        key, _, killed_wall_s, before = watched.lose(2)
        watched.start_again(key)
        watched.wait_said("stage 2 is back", killed_wall_s)
        record = watched.record()
    back, rebuilt = recovery_of(record, 2, before)
    begun = rebuilt["commit"] + 1
    calm = [line["duration_us"] / 1e6 for line in record if SKIPPED_STEPS < line["step"] <= before]
    # From the first step with the rebuild under way to the last without the stage.
    during = [line["duration_us"] / 1e6 for line in record if begun <= line["step"] < back]
    return {"link_mib_s": speed, "stage_bytes": stage_bytes(job), "rebuild_s": rebuilt["duration_us"] / 1e6,
            "rebuild_steps": len(during), "steps_per_s_before": 1 / statistics.mean(calm),
            "steps_per_s_during": len(during) / sum(during),
            "ratio": round(len(during) / sum(during) * statistics.mean(calm), 3), "required": 0.9}


def bench_transfer(options, folder):
    """Another node of the job takes the stage beside its own."""
    job = job_of(folder, 3, hidden=1600 if not options.quick else 512, microbatches=4, recovery={"origins": 1})
    with Watched(options.program, folder, 3, job) as watched:
        watched.wait_steps(4)
        _, _, killed_wall_s, before = watched.lose(1)
        seen = watched.wait_said("is lost, which held stage 1", killed_wall_s)
        watched.wait_said("stage 1 is back", killed_wall_s)
        record = watched.record()
        if options.keep:
            (options.keep / "transfer.log").write_text(watched.swarm.ask("logs", watched.id))
        times = {what: watched.said(pattern, killed_wall_s)[0] - seen for what, pattern in (
            ("asked_for", "rebuilds stage 1"), ("rebuilt", "rebuilt stage 1 as of"),
            ("hosting", "takes stage 1"), ("back", "stage 1 is back"))}
    _, rebuilt = recovery_of(record, 1, before)
    seconds = rebuilt["duration_us"] / 1e6
    return {"stage_bytes": stage_bytes(job), "pulled_bytes": rebuilt["bytes"], "transfer_s": seconds,
            "bytes_per_s": rebuilt["bytes"] / seconds, "seconds_since_seen": times, "required": {"hosting": 5}}


def bench_cost(options, folder):
    steps, rounds = (60, 3) if options.quick else (150, 7)
    found = {policy: [] for policy in POLICIES}
    with Swarm(options.program, folder / "swarm", 5) as swarm:
        for number in range(rounds):
            for policy in POLICIES:
                job = job_of(folder, 5, steps=steps, hidden=128, layers=10, recovery={"policy": policy})
                name, _ = swarm.finish(write_json(folder / f"{policy}.json", {**job, "name": policy}))
                found[policy].append(statistics.median(swarm.step_seconds(name)[SKIPPED_STEPS:]))
    medians = {policy: statistics.median(values) for policy, values in found.items()}
    return {"rounds": rounds, "step_s": medians, "to_replica": {
        policy: round(statistics.median(one / base for one, base in zip(values, found["replica"])), 3)
        for policy, values in found.items()}, "required": {"checkfree": 1.03}}


PARTS = {"loss": bench_loss, "slow": bench_slow, "transfer": bench_transfer, "cost": bench_cost}


def add_flags(parser):
    parser.add_argument("--only", nargs="+", choices=sorted(PARTS), help="default: all")
    parser.add_argument("--losses", type=int, default=8, help="of part loss")
    parser.add_argument("--keep", type=pathlib.Path, metavar="DIR", help="write the job's log there")
    parser.add_argument("--quick", action="store_true", help="three losses, a third of the weights, fewer rounds")


def run(options):
    if options.quick:
        options.losses = 3
    results = {}
    for part in options.only or PARTS:
        say(f"recovery: {part}")
        with tempfile.TemporaryDirectory(prefix="sidestep-bench.") as name:
            results[part] = PARTS[part](options, pathlib.Path(name))
    return results
