#!/usr/bin/env python3
"""scripts/study: what it makes of a run's records, the page that it writes of a tiny study, and that it goes on where it was.

usage: study_test.py SIDESTEP; run from the repository's root.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, "scripts")
sys.dont_write_bytecode = True
import study_recovery  # noqa: E402
import study_report  # noqa: E402
import study_runs  # noqa: E402


def record(step, validation=None, loss=1.0, lost=(), policy="checkpoint"):
    return json.dumps({"step": step, "loss": loss, "validation_loss": validation, "duration_us": 1000,
                       "recoveries": [{"stage": stage, "policy": policy} for stage in lost]})


def check_reading():
    lines = [record(0, loss=None), record(1), record(2, 3.0), record(3), record(2, 3.0, lost=(0, 1, 2)), record(3),
             record(4, 2.0), record(5, 1.0, loss=None)]
    kept = study_runs.read_steps(lines)
    assert kept["order"] == [[1, 1], [4, 2]], kept
    assert kept["lines"] == 6, kept
    assert kept["validation"] == [[1, 3.0, 1], [3, 2.0, 5], [4, 1.0, 6]], kept
    assert kept["recoveries"] == [[4, 2, [0, 1, 2], "checkpoint"]], kept
    return kept


def check_model(folder, kept):
    path = folder / "costs.json"
    path.write_text(json.dumps({"source": "a test", "step_s": {"default": 2}, "recovery_s": {"checkpoint": 100}}))
    study = study_recovery.Study("quick", pathlib.Path("text.txt"))
    setting = next(one for one in study.settings() if one.label == "checkpoint every 50")
    run = study_report.Run(setting, kept, study_report.Costs(path))
    assert run.losses == 1
    assert run.seconds(1) == 2 and run.seconds(6) == 112, run.seconds(6)
    # Half way between commits 1 (one step run) and 3 (five, and the roll-back).
    assert run.reached(2.5) == (2, 3, 2 + 0.5 * 108), run.reached(2.5)
    assert run.reached(0.5) is None
    # Routes that leave fewer and fewer stages out, each with its own step time.
    grid = study_recovery.Study("gpu", pathlib.Path("text.txt"), steps=8).settings()
    falling = next(one for one in grid if "1/2, falling" in one.label)
    keys = ("skip 0.50 even", "skip 0.33 even", "skip 0.17 even", "default")
    assert falling.step_keys == tuple(zip((1, 3, 5, 7), keys)), falling.step_keys
    path.write_text(json.dumps({"source": "a test", "step_s": dict(zip(keys, (1, 10, 100, 1000))), "recovery_s": {}}))
    run = study_report.Run(falling, {"validation": [[8, 1.0, 8]], "recoveries": []}, study_report.Costs(path))
    seconds = [run.seconds(count) for count in (1, 2, 3, 8)]
    assert seconds == [1, 2, 12, 2222], seconds


def check_study(folder, program):
    text = folder / "text.txt"
    text.write_text("in the beginning was the word, and the word was with the others. " * 400)
    command = [sys.executable, "scripts/study", "recovery", "--quick", "--program", program, "--text", str(text),
               "--out", str(folder / "runs"), "--report", str(folder / "page.md"), "--steps", "6",
               "--rate", "0.2", "--only", "none|checkpoint|checkfree,"]
    first = subprocess.run(command, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    page = (folder / "page.md").read_text()
    for part in ("| none | never |", "| checkpoint every 50 | 20 % |", "| checkfree | 20 % |", "from scripts/bench recovery",
                 "(page-policies-20-steps.svg)"):
        assert part in page, (part, page)
    assert (folder / "page-policies-20-steps.svg").read_text().startswith("<svg "), page
    kept = {path.name: json.loads(path.read_text()) for path in (folder / "runs").iterdir()}
    assert len(kept) == 3, kept.keys()
    none, checkpoint = (next(one for name, one in kept.items() if label in name) for label in ("none", "checkpoint"))
    # A roll-back loses nothing but time.
    assert [entry[:2] for entry in checkpoint["validation"]] == [entry[:2] for entry in none["validation"]]
    assert checkpoint["lines"] > none["lines"] == 6
    again = subprocess.run(command, capture_output=True, text=True)
    assert "3 of 3 runs are finished" in again.stderr and "steps run" not in again.stderr, again.stderr
    # What is finished goes elsewhere.
    saved = folder / "runs.jsonl"
    subprocess.run([*command, "--report-only", "--save", str(saved)], check=True, capture_output=True)
    assert str(folder) not in saved.read_text() and len(saved.read_text().splitlines()) == 3
    subprocess.run([*command, "--report-only", "--from", str(saved), "--out", str(folder / "elsewhere"),
                    "--report", str(folder / "other.md")], check=True, capture_output=True)
    assert (folder / "other.md").read_text() == page.replace("page-", "other-")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        check_model(folder, check_reading())
        check_study(folder, str(pathlib.Path(sys.argv[1]).resolve()))
    print("study: all is well")


if __name__ == "__main__":
    main()
