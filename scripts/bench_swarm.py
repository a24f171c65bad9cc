"""A swarm on this machine for scripts/bench: starts it, runs jobs on it, says what came of them."""

import array
import json
import pathlib
import random
import statistics
import subprocess
import sys
import time

SKIPPED_STEPS = 2  # the first ones warm up
ENDED = ("done", "failed", "cancelled")


def fail(text):
    sys.exit(f"bench: {text}")


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def run(*command, **options):
    result = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, **options)
    if result.returncode != 0:
        fail(f"{' '.join(str(part) for part in command)} failed with status {result.returncode}")
    return result.stdout


def tool(program, name):
    """A program of tests/bench, built."""
    build = program.parent
    subprocess.run(["cmake", "--build", str(build), "--target", name], check=True, stdout=subprocess.DEVNULL)
    return build / "tests" / name


def make_tokens(path, vocab_size, count):
    """Random tokens: speed does not depend on what they say."""
    generator = random.Random(1)
    path.write_bytes(array.array("H", (generator.randrange(vocab_size) for _ in range(count))).tobytes())
    return path


class Operator:
    """Asks a scheduler, as the operator whose config this is."""

    def __init__(self, program, config, prefix=()):
        self.program, self.config, self.prefix = program, config, list(prefix)

    def ask(self, *arguments):
        return run(*self.prefix, self.program, *arguments, "--config", self.config)

    def ask_json(self, *arguments):
        return json.loads(self.ask(*arguments, "--json"))

    def finish(self, job):
        """Submits and waits; the job's id and its status at the end."""
        name = self.ask_json("submit", job)["job"]
        while True:
            status = self.ask_json("status", name)["job"]
            if status["state"] in ENDED:
                break
            time.sleep(0.5)
        if status["state"] != "done":
            fail(f"the job ended as {status['state']}: {status.get('reason')}")
        return name, status

    def logs(self, job):
        return [json.loads(line) for line in self.ask("logs", job, "--json").splitlines()]

    def step_seconds(self, job):
        """Of every training step, from the commit before to its own."""
        lines = [json.loads(line) for line in self.ask("record", job, "--json").splitlines()]
        return [line["duration_us"] / 1e6 for line in lines if line.get("loss") is not None]

    def time_use(self, job, nodes):
        """Where each daemon's time went, by key: said just after the job's end."""
        limit = time.monotonic() + 10
        while True:
            said = {line["node"]: line["text"] for line in self.logs(job) if line["text"].startswith("computed ")}
            if len(said) >= nodes or time.monotonic() > limit:
                return said
            time.sleep(0.1)


class Swarm(Operator):
    """`sidestep up`."""

    def __init__(self, program, folder, nodes, *flags):
        super().__init__(program, folder / "operator.json")
        self.process = subprocess.Popen(
            [str(program), "up", "--nodes", str(nodes), "--threads", "1", "--dir", str(folder), "--json",
             *map(str, flags)], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            fail(f"the swarm did not start; its logs are in {folder}/logs")
        self.about = json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def measured(seconds):
    """Of the steps after the first ones."""
    timed = seconds[SKIPPED_STEPS:]
    if not timed:
        fail(f"no step beyond the first {SKIPPED_STEPS}")
    return {"step_s": statistics.median(timed), "least_s": min(timed), "most_s": max(timed), "steps": len(timed)}


def write_json(path, content):
    pathlib.Path(path).write_text(json.dumps(content, indent=1) + "\n")
    return path
