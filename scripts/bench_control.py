"""`scripts/bench control`: what the control plane costs.

  core         the scheduler's core with 10 to 10,000 nodes on a virtual clock, every message encoded and decoded, no
               network: CPU seconds a second, as a share of one core, and resident memory; nodes send a heartbeat every
               0.2 s, or every nodes/2,000 s where that is longer
  connections  200 nodes as one process, each with a key and a connection (CURVE) of its own, at a real `sidestep
               scheduler`: the time until all are members, then what the scheduler takes and how soon it answers
  commit       6 daemons on loopback, 3 stages, 2 replicas each, steps of about 100 ms (their least task times are
               emulated): what of a step goes to its commit. Each daemon says how long it waited for commits, from the
               end of its own averaging on; that of the one that waited least is an upper bound, for whoever averages
               last waits for the commit alone. Beside it, a step against the cost model, which has no commit.
"""

import json
import pathlib
import re
import subprocess
import tempfile
import time

import bench_swarm
from bench_swarm import Swarm, fail, make_tokens, measured, say, tool, write_json

PARTS = ("core", "connections", "commit")
TICKS_PER_S = 100


# ---- the core ---------------------------------------------------------------------------------

def part_core(options):
    program = tool(options.program, "sidestep_bench_control")
    results = []
    for nodes in (10, 100, 1000) if options.quick else (10, 100, 1000, 10000):
        say(f"control: {nodes} nodes")
        results.append(json.loads(bench_swarm.run(program, nodes, 10 if options.quick else 30)))
    share = next(row["cpu_share"] for row in results if row["nodes"] == 1000)
    return {"required": {"cpu_share_at_1000": 0.20}, "cpu_share_at_1000": share, "results": results}


# ---- connections ------------------------------------------------------------------------------

def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def memory_bytes(pid, field):
    return 1024 * int(re.search(rf"{field}:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1))


def part_connections(options):
    nodes, seconds = (50, 5) if options.quick else (200, 20)
    say(f"control: {nodes} connections")
    with tempfile.TemporaryDirectory(prefix="sidestep-bench.") as name:
        folder = pathlib.Path(name)
        client = subprocess.Popen([str(tool(options.program, "sidestep_bench_connections")), str(nodes), str(seconds)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        keys = json.loads(client.stdout.readline())["keys"]
        about = json.loads(bench_swarm.run(options.program, "keygen", "--out", folder / "key", "--json"))
        config = write_json(folder / "scheduler.json", {
            "bind": "127.0.0.1:0", "key_file": "key/node.key", "data_dir": "data", "nodes": keys, "operators": []})
        with open(folder / "scheduler.out", "w", encoding="utf-8") as out:
            scheduler = subprocess.Popen([str(options.program), "scheduler", "--config", str(config)], stdout=out,
                                         stderr=out)
        try:
            return connect(client, scheduler, folder, about["public_key"], nodes, seconds)
        finally:
            client.kill()
            client.wait()
            scheduler.terminate()
            scheduler.wait()


def connect(client, scheduler, folder, key, nodes, seconds):
    endpoint = folder / "data" / "endpoint"
    limit = time.monotonic() + 20
    while not endpoint.exists():
        if scheduler.poll() is not None or time.monotonic() > limit:
            fail(f"the scheduler did not start: {(folder / 'scheduler.out').read_text()}")
        time.sleep(0.05)
    before = {"cpu_s": cpu_seconds(scheduler.pid), "resident_bytes": memory_bytes(scheduler.pid, "VmRSS")}
    client.stdin.write(f"{endpoint.read_text().strip()} {key}\n")
    client.stdin.flush()
    line = client.stdout.readline()
    if not line:
        fail("the nodes could not connect")
    connected_s, began_s = cpu_seconds(scheduler.pid), time.monotonic()
    found = json.loads(client.stdout.readline())
    cpu_s, passed_s = cpu_seconds(scheduler.pid) - connected_s, time.monotonic() - began_s
    return {"nodes": nodes, **json.loads(line), "connect_cpu_s": connected_s - before["cpu_s"], **found,
            "seconds": seconds, "cpu_share": cpu_s / passed_s,
            "resident_bytes_without": before["resident_bytes"],
            "resident_bytes": memory_bytes(scheduler.pid, "VmRSS"), "peak_bytes": memory_bytes(scheduler.pid, "VmHWM")}


# ---- commit -----------------------------------------------------------------------------------

def part_commit(options):
    nodes, stages, microbatches, steps = 6, 3, 6, 100 if options.quick else 300
    say(f"control: commits of {steps} steps")
    with tempfile.TemporaryDirectory(prefix="sidestep-bench.") as name:
        folder = pathlib.Path(name)
        tokens = make_tokens(folder / "tokens.bin", 256, 100_000)
        times = {"forward_s": 0.006, "backward_s": 0.012, "head_s": 0.002}
        table = write_json(folder / "emulate.json", {
            "wan": {"same_region": {"latency_ms": 0, "bandwidth_gib_s": 1000},
                    "links": [{"from": "here", "to": "there", "latency_ms": 0, "bandwidth_gib_s": 1000}]},
            "nodes": [{"region": "here", **times}] * nodes})
        plan = {"stage_of": {f"node-{n + 1}": n // 2 for n in range(nodes)},
                "paths": [{"microbatch": m, "hops": [f"node-{2 * stage + m % 2 + 1}" for stage in range(stages)]}
                          for m in range(microbatches)]}
        job = write_json(folder / "job.json", {
            "name": "commit", "steps": steps, "seed": 1, "precision": "float32",
            "model": {"vocab_size": 256, "hidden_size": 64, "intermediate_size": 172, "num_attention_heads": 2,
                      "num_hidden_layers": stages, "max_position_embeddings": 16},
            "pipeline": {"stages": stages, "microbatches_per_step": microbatches, "microbatch_size": 1, "slots": 3,
                         "plan": plan},
            "data": {"path": str(tokens), "format": "tokens", "sequence_length": 16},
            "optimizer": {"learning_rate": 1e-4}})
        predicted_s = without_commit(options.program, folder, plan, times, nodes, stages, microbatches)
        with Swarm(options.program, folder / "swarm", nodes, "--emulate", table) as swarm:
            done, _ = swarm.finish(job)
            durations = swarm.step_seconds(done)
            said = swarm.time_use(done, nodes)
    step = measured(durations)
    waited_s = [float(re.search(r"commits ([\d.]+)", text).group(1)) for text in said.values()]
    if len(waited_s) < nodes:
        fail("not every daemon said where its time went")
    return {"required": {"commit_share_at_most": 0.03}, **step,
            "commit_share_at_most": min(waited_s) / sum(durations),
            "waited_for_commits_s": {"least": min(waited_s), "most": max(waited_s)}, "all_steps_s": sum(durations),
            "cost_model_s": predicted_s, "step_to_cost_model": step["step_s"] / predicted_s}


def without_commit(program, folder, plan, times, nodes, stages, microbatches):
    """A step of the plan by the cost model: tasks alone, no way between nodes."""
    instance = write_json(folder / "instance.json", {
        "stages": stages, "microbatches_per_step": microbatches, "transfer_s": [[0] * nodes] * nodes,
        "nodes": [{"id": f"node-{n + 1}", "slots": 3, **times} for n in range(nodes)]})
    path = write_json(folder / "plan.json", plan)
    return json.loads(bench_swarm.run(program, "plan", instance, "--evaluate", "--start", path, "--json"))["makespan_s"]


def add_flags(parser):
    parser.add_argument("--quick", action="store_true", help="fewer nodes and steps, in a minute")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"some of: {', '.join(PARTS)}")
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE", help="write the JSON there too")


def run(options):
    parts = {"core": part_core, "connections": part_connections, "commit": part_commit}
    return {"what": "what the control plane costs", **{part: parts[part](options) for part in options.only or PARTS}}
