"""`scripts/bench averaging`: how near in-stage averaging comes to what the links allow. One stage, n replicas, each a real
daemon in a network namespace of its own; every namespace has one line of 100 Mbit/s each way (`tc tbf` at both ends of
a veth pair) to a bridge in a further namespace, where the scheduler runs. Needs root.

Each replica has to send, and to receive, 2 (n-1)/n of the gradient's bytes: `bound_s` is that over 100 Mbit/s, and
`efficiency` is the bound over what averaging took. The bound counts payload alone: a frame of 1,514 bytes on the line
(tbf counts the link layer's header) carries 1,448, so that 0.956 is the most TCP reaches, before encryption adds its own.
As averaging counts all of a step (from commit to commit, by the run record) but what the daemon that computed longest spent
on forward, head, backward and update; reports, the commit and waiting are in it. `of_whole_step` counts all of the step.
`tcp_s` is the baseline: the same bytes the same way by a plain TCP connection to the next namespace, nothing encrypted.
"""

import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import bench_swarm
from bench_swarm import SKIPPED_STEPS, Operator, fail, make_tokens, measured, say, write_json

SUBNET = "10.214.7"
MEGABIT = 100
LAYER = {"hidden_size": 512, "intermediate_size": 1376, "num_attention_heads": 8}
VOCAB, SEQUENCE_LENGTH = 256, 8


def gradient_bytes(layers):
    hidden, intermediate = LAYER["hidden_size"], LAYER["intermediate_size"]
    return 4 * (layers * (4 * hidden**2 + 3 * hidden * intermediate + 2 * hidden) + (2 * VOCAB + 1) * hidden)


class Machines:
    """Namespaces and their lines; all gone when it goes."""

    def __init__(self, nodes):
        self.prefix = f"sidestep-{os.getpid()}"
        self.hub = f"{self.prefix}-hub"
        self.names = [f"{self.prefix}-{n}" for n in range(nodes)]
        self.made = []

    def __enter__(self):
        shape = ["root", "tbf", "rate", f"{MEGABIT}mbit", "burst", "64kb", "latency", "50ms"]
        try:
            for name in [self.hub, *self.names]:
                self.command("ip", "netns", "add", name)
                self.made.append(name)
                self.command("ip", "-n", name, "link", "set", "lo", "up")
            self.command("ip", "-n", self.hub, "link", "add", "bridge", "type", "bridge")
            self.command("ip", "-n", self.hub, "address", "add", f"{SUBNET}.254/24", "dev", "bridge")
            self.command("ip", "-n", self.hub, "link", "set", "bridge", "up")
            for n, name in enumerate(self.names):
                self.command("ip", "link", "add", "line", "netns", name, "type", "veth", "peer", "name", f"port{n}",
                             "netns", self.hub)
                self.command("ip", "-n", self.hub, "link", "set", f"port{n}", "master", "bridge", "up")
                self.command("ip", "-n", name, "address", "add", f"{self.host(n)}/24", "dev", "line")
                self.command("ip", "-n", name, "link", "set", "line", "up")
                self.command("tc", "-n", name, "qdisc", "add", "dev", "line", *shape)
                self.command("tc", "-n", self.hub, "qdisc", "add", "dev", f"port{n}", *shape)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name in self.made:
            subprocess.run(["ip", "netns", "delete", name], check=False)

    @staticmethod
    def command(*words):
        result = subprocess.run(words, stderr=subprocess.PIPE, text=True, check=False)
        if result.returncode != 0:
            fail(f"averaging needs root and network namespaces: {' '.join(words)}: {result.stderr.strip()}")

    def host(self, n):
        return f"{SUBNET}.{n + 1}"

    @staticmethod
    def within(name):
        return ["ip", "netns", "exec", name]


class Daemons:
    """A scheduler in the hub and a daemon in every other namespace."""

    def __init__(self, program, machines, folder):
        self.program, self.machines, self.folder, self.processes = program, machines, folder, []
        keys = {name: self.key(name) for name in ("scheduler", "operator", *map(str, range(len(machines.names))))}
        nodes = [keys[str(n)] for n in range(len(machines.names))]
        about = {"address": f"{SUBNET}.254:7000", "public_key": keys["scheduler"]}
        self.start(machines.hub, "scheduler", {
            "bind": about["address"], "key_file": "scheduler/node.key", "data_dir": "scheduler", "nodes": nodes,
            "operators": [keys["operator"]]})
        for n, name in enumerate(machines.names):
            self.start(name, "daemon", {
                "nickname": f"node-{n + 1}", "bind": f"{machines.host(n)}:7001", "scheduler": about,
                "key_file": f"{n}/node.key", "data_dir": f"{n}", "threads": 1, "memory_bytes": 2 << 30}, str(n))
        config = write_json(folder / "operator.json", {"scheduler": about, "key_file": "operator/node.key"})
        self.operator = Operator(program, config, machines.within(machines.hub))

    def key(self, name):
        return json.loads(bench_swarm.run(self.program, "keygen", "--out", self.folder / name, "--json"))["public_key"]

    def start(self, namespace, command, config, name="scheduler"):
        path = write_json(self.folder / f"{name}.json", config)
        with open(self.folder / f"{name}.out", "w", encoding="utf-8") as out:
            self.processes.append(subprocess.Popen(
                [*self.machines.within(namespace), str(self.program), command, "--config", str(path)], stdout=out,
                stderr=out, env={**os.environ, "OMP_WAIT_POLICY": "passive"}))

    def await_all(self):
        limit = time.monotonic() + 30
        while time.monotonic() < limit:
            found = subprocess.run([*self.operator.prefix, str(self.program), "nodes", "--json", "--config",
                                    str(self.operator.config)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                   text=True, check=False).stdout
            if found.count('"alive"') == len(self.machines.names):
                return
            time.sleep(0.2)
        fail(f"the daemons did not come up; their output is in {self.folder}")

    def __enter__(self):
        self.await_all()
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            process.wait()


# A process in each namespace: takes bytes from one neighbour, sends as many to the other.
PLAIN_TCP = """
import socket, sys, threading, time
host, other, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
server = socket.create_server((host, 7010))
print("listens", flush=True)
sys.stdin.readline()
def take():
    connection, _ = server.accept()
    left = count
    while left > 0:
        left -= len(connection.recv(1 << 20)) or left
thread = threading.Thread(target=take)
thread.start()
began = time.monotonic()
out = socket.create_connection((other, 7010))
out.sendall(bytes(count))
thread.join()
print(time.monotonic() - began, flush=True)
"""


def plain_tcp(machines, count):
    """Seconds until every namespace has sent `count` bytes to the next and got as many."""
    nodes = len(machines.names)
    processes = [subprocess.Popen(
        [*machines.within(name), sys.executable, "-c", PLAIN_TCP, machines.host(n), machines.host((n + 1) % nodes),
         str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for n, name in enumerate(machines.names)]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    seconds = max(float(process.stdout.readline()) for process in processes)
    for process in processes:
        process.stdin.close()
        process.wait()
    return seconds


def computed_seconds(said):
    """Of a daemon's line: forward, head, backward and update."""
    return sum(float(re.search(rf"{what} ([\d.]+)", said).group(1)) for what in ("forward", "head", "backward", "update"))


def measure(options, nodes, layers, steps):
    size = gradient_bytes(layers)
    bound_s = 2 * (nodes - 1) / nodes * size / (MEGABIT * 1e6 / 8)
    say(f"averaging: {nodes} replicas, {size / 1e6:.1f} MB")
    with tempfile.TemporaryDirectory(prefix="sidestep-bench.") as name:
        folder = pathlib.Path(name)
        tokens = make_tokens(folder / "tokens.bin", VOCAB, 100_000)
        plan = {"stage_of": {f"node-{n + 1}": 0 for n in range(nodes)},
                "paths": [{"microbatch": n, "hops": [f"node-{n + 1}"]} for n in range(nodes)]}
        job = write_json(folder / "job.json", {
            "name": "averaging", "steps": steps, "seed": 1, "precision": "float32",
            "model": {**LAYER, "vocab_size": VOCAB, "num_hidden_layers": layers,
                      "max_position_embeddings": SEQUENCE_LENGTH},
            "pipeline": {"stages": 1, "microbatches_per_step": nodes, "microbatch_size": 1, "slots": 1, "plan": plan},
            "data": {"path": str(tokens), "format": "tokens", "sequence_length": SEQUENCE_LENGTH},
            "optimizer": {"learning_rate": 1e-4}})
        with Machines(nodes) as machines:
            tcp_s = statistics.median(plain_tcp(machines, 2 * (nodes - 1) * size // nodes) for _ in range(3))
            with Daemons(options.program, machines, folder) as daemons:
                done, _ = daemons.operator.finish(job)
                step = measured(daemons.operator.step_seconds(done))
                said = daemons.operator.time_use(done, nodes)
    computed_s = max(map(computed_seconds, said.values())) / steps
    averaging_s = step["step_s"] - computed_s
    return {"replicas": nodes, "gradient_bytes": size, "bound_s": bound_s, "tcp_s": tcp_s, **step,
            "computed_s": computed_s, "averaging_s": averaging_s, "efficiency": bound_s / averaging_s,
            "of_whole_step": bound_s / step["step_s"], "tcp_efficiency": bound_s / tcp_s,
            "to_tcp": averaging_s / tcp_s}


def add_flags(parser):
    parser.add_argument("--quick", action="store_true", help="two replicas and one size alone, in a minute")
    parser.add_argument("--steps", type=int, default=8, help=f"of which the first {SKIPPED_STEPS} are not timed")
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE", help="write the JSON there too")


def run(options):
    # About 26 and 114 MB.
    cases = [(2, 2)] if options.quick else [(2, 2), (3, 2), (2, 9), (3, 9)]
    return {"what": f"averaging one stage between network namespaces, lines of {MEGABIT} Mbit/s each way",
            "required": {"efficiency": 0.85},
            "results": [measure(options, nodes, layers, options.steps) for nodes, layers in cases]}
