"""Jobs for scripts/bench recovery, and a swarm whose job is watched while its nodes are killed and started again."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import time

from bench_swarm import ENDED, SKIPPED_STEPS, Swarm, fail, make_tokens, write_json

LEAST = {"forward_s": 0.02, "backward_s": 0.04, "head_s": 0.01}
LIMIT_S = 120
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


def in_folder(recovery, folder):
    """Checkpoints need a place."""
    return {**recovery, "directory": str((folder / "checkpoints").resolve())} if recovery.get("policy") == "checkpoint" else recovery


def memory_mib(pid, what):
    """VmRSS or VmHWM of a process."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(rf"{what}:\s+(\d+) kB", status).group(1)) / 1024
