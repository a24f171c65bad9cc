"""Runs jobs by `sidestep solo` and keeps what came of each as a JSON file, so that a study can be ended and gone on with."""

import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile
import time


def fail(text):
    sys.exit(f"study: {text}")


def say(text):
    print(f"study: {text}", file=sys.stderr, flush=True)


class Runs:
    """Finished runs under `folder`. `device`: as `solo --device`."""

    def __init__(self, program, folder, device):
        self.program, self.folder, self.device = program, folder, device
        self.running = set()

    def finished(self, setting):
        """What is kept of the setting's run; None if there is nothing, or it is of another job."""
        try:
            kept = json.loads((self.folder / setting.file_name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return kept if self._same_job(kept["job"], setting.job) else None

    def take(self, settings, path):
        """Those of the settings that a file of finished runs has."""
        kept = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        self.folder.mkdir(parents=True, exist_ok=True)
        for setting in settings:
            for one in kept:
                if self._same_job(one["job"], setting.job) and not self.finished(setting):
                    self._keep(setting, one)

    def save(self, settings, path):
        """Writes what take() reads."""
        lines = [json.dumps({**kept, "job": self._named(kept["job"])}) + "\n"
                 for setting in settings if (kept := self.finished(setting))]
        path.write_text("".join(lines), encoding="utf-8")

    def _keep(self, setting, kept):
        path = self.folder / setting.file_name
        temporary = path.with_suffix(".part")
        temporary.write_text(json.dumps(kept) + "\n", encoding="utf-8")
        os.replace(temporary, path)

    @staticmethod
    def _named(job):
        """The text may lie elsewhere."""
        return {**job, "data": {**job["data"], "path": os.path.basename(job["data"]["path"])}}

    @classmethod
    def _same_job(cls, kept, wanted):
        return cls._named(kept) == cls._named(wanted)

    def run_all(self, settings, parallel, seconds):
        """Those that are not finished, `parallel` at a time. The first that fails ends it: the others would fail alike."""
        if not self.program.exists():
            fail(f"{self.program} is missing; scripts/setup builds it")
        self.folder.mkdir(parents=True, exist_ok=True)
        waiting = [setting for setting in settings if not self.finished(setting)]
        say(f"{len(settings) - len(waiting)} of {len(settings)} runs are finished")
        begin, longest = time.monotonic(), 0.0
        under_way = set()
        with concurrent.futures.ThreadPoolExecutor(max_workers=parallel) as pool:
            try:
                while waiting or under_way:
                    in_time = seconds is None or time.monotonic() - begin + longest < seconds
                    while waiting and in_time and len(under_way) < parallel:
                        under_way.add(pool.submit(self._run, waiting.pop(0)))
                    if not under_way:
                        say(f"{len(waiting)} runs are left for another time")
                        return
                    done, under_way = concurrent.futures.wait(under_way, return_when=concurrent.futures.FIRST_COMPLETED)
                    longest = max([longest] + [run.result() for run in done])
            except BaseException:
                waiting.clear()
                for process in list(self.running):
                    process.terminate()
                raise

    def _run(self, setting):
        """Returns its seconds."""
        begin = time.monotonic()
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            json.dump(setting.job, file)
            file.flush()
            command = [str(self.program), "solo", file.name, "--threads", "1", "--device", self.device, "--json"]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                       env={**os.environ, "OMP_NUM_THREADS": "1"})
            self.running.add(process)
            with process:
                kept = read_steps(process.stdout)
                problem = process.stderr.read()
            self.running.discard(process)
        if process.returncode != 0:
            raise SystemExit(f"study: {setting.name}: solo ended with {process.returncode}: {problem.strip()}")
        kept |= {"name": setting.name, "job": setting.job, "device": self.device, "wall_s": round(time.monotonic() - begin, 1)}
        self._keep(setting, kept)
        say(f"{setting.name}: validation loss {kept['validation'][-1][1]:.4f}, {kept['lines']} steps run, {kept['wall_s']:.0f} s")
        return time.monotonic() - begin


def read_steps(lines):
    """Of the records that solo prints, one a step that ran: where the model was when, and what was lost.

    `order`: [[n-th step run, its number], …] where the numbers begin and where they go back. `validation`:
    [[commit, loss, steps run before it], …], each commit once. `recoveries`: [[n-th step run, its number, stages, policy], …].
    """
    order, validation, recoveries, known, compute_us, count = [], [], [], set(), 0, 0
    for line in lines:
        record = json.loads(line)
        step = record["step"]
        if step == 0:
            continue
        compute_us += record["duration_us"]
        if record.get("recoveries"):
            stages = [one["stage"] for one in record["recoveries"]]
            recoveries.append([count + 1, step, stages, record["recoveries"][0]["policy"]])
        if record.get("validation_loss") is not None and step - 1 not in known:
            known.add(step - 1)
            validation.append([step - 1, record["validation_loss"], count])
        if record.get("loss") is None:
            continue  # validation alone
        count += 1
        if not order or step != order[-1][1] + count - order[-1][0]:
            order.append([count, step])
    return {"order": order, "lines": count, "validation": validation, "recoveries": recoveries, "compute_s": compute_us / 1e6}
