"""The part `policies` of scripts/bench recovery: what a step and a loss cost under each policy of `scripts/study recovery`."""

import os
import pathlib
import re
import signal
import statistics
import tempfile
import time

import study_recovery
from bench_swarm import SKIPPED_STEPS, make_tokens, say, write_json
from bench_watched import Watched, in_folder, table


def study_job(folder, changes, recovery):
    """As `scripts/study recovery` trains it, on text that is of no interest."""
    shape = dict(study_recovery.CPU_SHAPE)
    pipeline = {"stages": study_recovery.STAGES, "slots": 4, "max_swaps": 2,
                **{key: shape.pop(key) for key in ("microbatches_per_step", "microbatch_size")}, **changes}
    sequence_length, learning_rate = shape.pop("sequence_length"), shape.pop("learning_rate")
    return {"name": "study", "steps": 1_000_000, "seed": 1, "precision": "float32", "model": {"vocab_size": 256, **shape},
            "pipeline": pipeline, "optimizer": {"learning_rate": learning_rate}, "recovery": in_folder(recovery, folder),
            "data": {"path": str(make_tokens(folder / "tokens.bin", 256, 200_000)), "format": "tokens",
                     "sequence_length": sequence_length}}


def delay_of_loss(watched, stage):
    """Seconds by which the loss of one holder of the stage delays the steps that follow, those that run again not counted. The
    node is started again at once."""
    watched.wait_steps(12)
    ordinary = statistics.mean(line["duration_us"] / 1e6 for line in watched.record()[-8:])
    job = watched.wait("a holder", lambda job: job["stages"][stage])
    key, before, killed_s, killed_wall_s = job["stages"][stage][-1], job["commit"], time.monotonic(), time.time()
    os.kill(watched.pids[key], signal.SIGKILL)
    watched.wait_said("is lost, which held|goes back to", killed_wall_s)
    watched.start_again(key)
    again = 0
    if job["recovery"]["policy"] == "checkpoint":
        said = re.search(r"(\d+) steps? runs? again", watched.said("goes back to", killed_wall_s)[1])
        again = int(said.group(1)) if said else 0
        ended = watched.wait("new steps", lambda job: (job["commit"] or 0) > before)["commit"]
    else:
        if len(job["stages"][stage]) == 1:
            watched.wait_said(f"stage {stage} is back", killed_wall_s)
        ended = watched.wait_steps(6)["commit"]
    return time.monotonic() - killed_s - (ended - before + again) * ordinary


def measure(options, folder):
    steps, losses = (10, 1) if options.quick else (40, 3)
    costs = {"source": "scripts/bench recovery --only policies", "step_s": {}, "recovery_s": {}}

    def watch(name, changes, recovery):
        place = pathlib.Path(tempfile.mkdtemp(dir=folder))
        say(f"recovery: policies: {name}")
        return Watched(options.program, place, 7, study_job(place, changes, recovery), table(7, 1024))

    def step_of(name, changes, recovery):
        with watch(name, changes, recovery) as watched:
            watched.wait_steps(steps)
            taken = [line["duration_us"] / 1e6 for line in watched.record()[SKIPPED_STEPS:]]
        costs["step_s"][name] = round(statistics.mean(taken), 4)

    for name, recovery in study_recovery.POLICIES.items():
        step_of(name, {}, recovery)
        # With a mirror, or a checkpoint, that there is to take.
        often = {key: min(value, 5) if "every" in key else value for key, value in recovery.items()}
        with watch(f"{name}, losses", {}, often) as watched:
            delays = [delay_of_loss(watched, 2 + number % 3) for number in range(losses)]
        costs["recovery_s"][name] = round(max(0, statistics.median(delays)), 3)
    costs["step_s"]["default"] = costs["step_s"]["checkfree"]
    for ratio in study_recovery.skip_parts():
        step_of(f"skip {ratio:.2f} even", {"skip_ratio": ratio, "visit_slack": 0}, {})
    for ratio in study_recovery.SKIP_RATIOS.values():
        step_of(f"skip {ratio:.2f} depth", {"skip_ratio": ratio, "visit_share": "depth", "visit_slack": 0}, {})
    if options.write_costs:
        write_json(options.write_costs, costs)
    return costs
