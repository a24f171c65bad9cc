"""scripts/bench recovery: what the loss of a stage's only host costs, and what it costs to be ready for it.

loss      Six daemons with emulated task times on loopback, five stages. The only host of a stage is killed (SIGKILL), and
          started again when its stage is back, several times over: how long to the next finished step, beyond an ordinary one;
          whether the record has every step once; how long each part of the recovery took, by the log.
slow      The same over links so slow that the rebuild lasts at least ten steps: steps per second while it lasts against before.
transfer  Stages of 100 MB of weights (300 MB with Adam's moments) on bare loopback: seconds from the loss being seen to the
          rebuild, to the stage being held again, and to its first step.
fresh     The same, and the node that was killed is started again and rebuilds its stage: the most memory that it had by
          then, beyond that of a daemon without a job, against the stage.
line      A rebuild over links of 20 MiB/s that carry little else: how much of the slower source's it takes.
cost      The same small job with every policy and nothing lost, interleaved: the median step against that of policy replica.
policies  The job of `scripts/study recovery` on seven nodes with emulated task times, under each policy and with routes that
          leave stages out: seconds of a step, and by how many seconds a loss delays the job. --write-costs FILE writes them
          as that study takes them.
"""

import pathlib
import statistics
import tempfile
import time

import bench_policies
from bench_swarm import SKIPPED_STEPS, Swarm, say, write_json
from bench_watched import (LEAST, Watched, broken_steps, in_folder, job_of, memory_mib, recovery_of, stage_bytes,
                           table)

POLICIES = {
    "replica": {"policy": "replica"},
    "checkfree": {"policy": "checkfree"},
    "checkfree+": {"policy": "checkfree+"},
    "mirror every 1": {"policy": "mirror", "every": 1},
    "mirror every 10": {"policy": "mirror", "every": 10},
    "checkpoint every 10": {"policy": "checkpoint", "checkpoint_every": 10},
}


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
    with Watched(options.program, folder, 6, job_of(folder, stages, recovery={"policy": "checkfree"}), table(6, 1024)) as watched:
        losses = [one_loss(watched, 1 + n % (stages - 1)) for n in range(options.losses)]
        problems = broken_steps(watched.record())
    return {"nodes": 6, "stages": stages, "least_task_times": LEAST, "losses": losses, "steps_lost_or_repeated": problems,
            "beyond_ordinary_s": statistics.median(one["beyond_ordinary_s"] for one in losses), "required_s": 2}


def bench_slow(options, folder):
    """One node a stage, so that nothing is averaged: the links carry activations and the rebuild alone. The node that
    was killed comes back with nothing, and rebuilds its stage."""
    stages, speed = 5, 8
    job = job_of(folder, stages, hidden=512, layers=10, microbatches=8, recovery={"policy": "checkfree", "origins": 1})
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
    job = job_of(folder, 3, hidden=1600 if not options.quick else 512, microbatches=4, recovery={"policy": "checkfree", "origins": 1})
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


def bench_fresh(options, folder):
    job = job_of(folder, 3, hidden=1600 if not options.quick else 512, microbatches=4, recovery={"policy": "checkfree", "origins": 1})
    with Watched(options.program, folder, 3, job) as watched:
        watched.wait_steps(4)
        key, _, killed_wall_s, _ = watched.lose(1)
        watched.start_again(key)
        pid = watched.again[key].pid
        # It has loaded its libraries, and is asked about the job only when the loss has been seen.
        time.sleep(0.4)
        idle = memory_mib(pid, "VmRSS")
        watched.wait_said("rebuilt stage 1 as of", killed_wall_s)
        peak = memory_mib(pid, "VmHWM")
        watched.wait_said("stage 1 is back", killed_wall_s)
        nodes = watched.swarm.ask_json("nodes")["nodes"]
        planned = next(node["memory_planned_bytes"] for node in nodes if node["key"] == key) / 2**20
    # Weights, gradient, two moments, what averages them.
    stage = 4 * stage_bytes(job) / 2**20
    return {"stage_bytes": stage_bytes(job), "daemon_without_a_job_mib": idle, "peak_mib": peak, "planned_mib": planned,
            "stage_mib": stage, "beyond_the_stage_mib": peak - idle - stage, "required": 64}


def bench_line(options, folder):
    speed = 20
    job = job_of(folder, 3, hidden=768, microbatches=2, recovery={"policy": "checkfree", "origins": 1})
    with Watched(options.program, folder, 3, job, table(3, speed)) as watched:
        watched.wait_steps(8)
        key, _, killed_wall_s, before = watched.lose(1)
        watched.start_again(key)
        watched.wait_said("stage 1 is back", killed_wall_s)
        _, rebuilt = recovery_of(watched.record(), 1, before)
    seconds = rebuilt["duration_us"] / 1e6
    from_each = rebuilt["bytes"] / 2 / seconds / 2**20
    return {"link_mib_s": speed, "bytes": rebuilt["bytes"], "seconds": seconds, "mib_s_from_each": from_each,
            "share_of_a_link": round(from_each / speed, 3), "required": 0.85}


def bench_cost(options, folder):
    steps, rounds = (60, 3) if options.quick else (100, 7)
    found = {policy: [] for policy in POLICIES}
    with Swarm(options.program, folder / "swarm", 5) as swarm:
        for number in range(rounds):
            for label, recovery in POLICIES.items():
                job = job_of(folder, 5, steps=steps, hidden=128, layers=10, recovery=in_folder(recovery, folder))
                job["pipeline"]["max_swaps"] = 2
                name, _ = swarm.finish(write_json(folder / "job.json", {**job, "name": "cost"}))
                found[label].append(statistics.mean(swarm.step_seconds(name)[SKIPPED_STEPS:]))
    medians = {label: statistics.median(values) for label, values in found.items()}
    return {"rounds": rounds, "mean_step_s": medians, "to_replica": {
        label: round(statistics.median(one / base for one, base in zip(values, found["replica"])), 3)
        for label, values in found.items()}, "required": {"checkfree": 1.03}}


PARTS = {"loss": bench_loss, "slow": bench_slow, "transfer": bench_transfer, "fresh": bench_fresh, "line": bench_line,
         "cost": bench_cost, "policies": bench_policies.measure}


def add_flags(parser):
    parser.add_argument("--only", nargs="+", choices=sorted(PARTS), help="default: all")
    parser.add_argument("--losses", type=int, default=8, help="of part loss")
    parser.add_argument("--keep", type=pathlib.Path, metavar="DIR", help="write the job's log there")
    parser.add_argument("--write-costs", type=pathlib.Path, metavar="FILE", help="of part policies, for scripts/study recovery")
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
