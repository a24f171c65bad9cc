"""scripts/bench churn: what a swarm keeps of its speed while one replica after another is killed and comes back.

Six daemons, two stages, three replicas each. Task times are emulated, so that two cores carry six nodes: a step takes what it
would on machines of its own. The same job runs twice on fresh swarms, in this order: undisturbed, and with a daemon killed (SIGKILL)
every 30 s, each time another one of five, and started again at once under its key; so as many nodes live as before (`sidestep up`
ends with the last daemon that it started itself, which is why the sixth is left alone). Goodput is the tokens
of committed steps over the time from the first measured commit to the last by this script's clock, whatever happened in between.
"""

import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time

from bench_swarm import ENDED, SKIPPED_STEPS, Swarm, fail, make_tokens, say, write_json

NODES = 6
LEAST = {"forward_s": 0.05, "backward_s": 0.1, "head_s": 0.02}


def table():
    link = {"latency_ms": 5, "bandwidth_gib_s": 1}
    return {"wan": {"same_region": link, "links": [{"from": "east", "to": "west", **link}]},
            "nodes": [{"region": "east", **LEAST} for _ in range(NODES)]}


def job_of(folder, steps):
    tokens = make_tokens(folder / "tokens.bin", 256, 200_000)
    return {"name": "churn", "steps": steps, "seed": 1,
            "model": {"vocab_size": 256, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4,
                      "num_attention_heads": 2},
            "pipeline": {"stages": 2, "microbatches_per_step": 18, "microbatch_size": 1, "slots": 4},
            "data": {"path": str(tokens), "format": "tokens", "sequence_length": 64},
            "optimizer": {"learning_rate": 1e-3}}


class Churn:
    """Kills one daemon after another and starts it again."""

    def __init__(self, program, folder, about, every_s):
        self.program, self.folder, self.every_s = program, folder, every_s
        self.pids = {node["nickname"]: node["pid"] for node in about["nodes"]}
        self.again, self.killed = [], []
        self.due = None  # nothing is killed before begin()

    def begin(self):
        if self.every_s:
            self.due = time.monotonic() + self.every_s

    def on_time(self):
        if self.due is None or time.monotonic() < self.due:
            return
        self.due += self.every_s
        victims = sorted(self.pids)[1:]
        name = victims[len(self.killed) % len(victims)]
        os.kill(self.pids[name], signal.SIGKILL)
        self.killed.append(name)
        process = subprocess.Popen([str(self.program), "daemon", "--config", str(self.folder / name / "node.json")],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.again.append(process)
        self.pids[name] = process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.again:
            process.send_signal(signal.SIGINT)
            process.wait()


def one_run(program, folder, seconds, every_s):
    """Until so many seconds have passed; every_s: between two kills, or nothing."""
    folder.mkdir()
    emulate = write_json(folder / "emulate.json", table())
    job = write_json(folder / "job.json", job_of(folder, 100_000))
    commits = []  # (when it was seen, step)
    with (Swarm(program, folder / "swarm", NODES, "--emulate", emulate) as swarm,
          Churn(program, folder / "swarm", swarm.about, every_s) as churn):
        name = swarm.ask_json("submit", job)["job"]
        end = None
        while end is None or time.monotonic() < end:
            state = swarm.ask_json("status", name)["job"]
            if state["state"] in ENDED:
                fail(f"the job ended as {state['state']}: {state['reason']}")
            step = state["commit"] or 0
            if step > SKIPPED_STEPS and (not commits or step > commits[-1][1]):
                commits.append((time.monotonic(), step))
            if commits and end is None:
                end = commits[0][0] + seconds
                churn.begin()
            churn.on_time()
            time.sleep(0.1)
        swarm.ask("cancel", name)
        record = [json.loads(line) for line in swarm.ask("record", name, "--json").splitlines()[1:]]  # a header first
    (first_s, first), (last_s, last) = commits[0], commits[-1]
    timed = [line for line in record if first < line["step"] <= last]
    result = {"tokens_per_s": sum(line["tokens"] for line in timed) / (last_s - first_s), "steps": len(timed),
              "longest_pause_s": max(after[0] - before[0] for before, after in zip(commits, commits[1:])),
              "plans": max(line["epoch"] for line in record)}
    if every_s:
        result["killed"] = churn.killed
    return result


def add_flags(parser):
    parser.add_argument("--seconds", type=int, default=240, help="of the disturbed run; the other takes half of it")
    parser.add_argument("--quick", action="store_true", help="75 s, a kill every 15 s")


def run(options):
    seconds, every_s = (75, 15) if options.quick else (options.seconds, 30)
    with tempfile.TemporaryDirectory(prefix="sidestep-bench.") as name:
        folder = pathlib.Path(name)
        say(f"undisturbed, {seconds // 2} s")
        calm = one_run(options.program, folder / "calm", seconds // 2, None)
        say(f"a daemon killed every {every_s} s, {seconds} s")
        disturbed = one_run(options.program, folder / "disturbed", seconds, every_s)
    return {"nodes": NODES, "stages": 2, "least_task_times": LEAST, "killed_every_s": every_s,
            "undisturbed": calm, "disturbed": disturbed,
            "goodput_ratio": round(disturbed["tokens_per_s"] / calm["tokens_per_s"], 3), "required": 0.90}
