"""The page of `scripts/study recovery`: tables of validation losses, steps and modelled times, and plots of them."""

import json
import statistics

import study_plot
from study_runs import fail

PAPER = """CheckFree's own figures ([arXiv 2506.15461](https://arxiv.org/abs/2506.15461)), of 500M parameters on machines of which
5, 10 or 16 % fail an hour, to a validation loss of 2.85, in hours: checkpointing 558 / 622 / 634, redundant computation 420 at every rate,
CheckFree 368 / 406 / 563, CheckFree+ 355 / 368 / 461. In its ablation the weighted average beats the uniform one, that a copy, and a copy fresh weights.
"""


class Costs:
    """What a step and a loss cost on a swarm, in seconds, out of a file:

    `step_s`: by the name of the run's line ("checkfree", "mirror every 1"), "skip 0.33 even" and so on for routes that leave
    stages out; a line that is not in it is that of its policy, else "default". `recovery_s`: likewise, by how much one loss
    delays the run; "mirror": "mirror every 100". A line that is in neither way is not measured, and nothing is modelled from it.
    """

    def __init__(self, path):
        try:
            costs = json.loads(path.read_text(encoding="utf-8"))
            self.source, self.step_s, self.recovery_s = costs["source"], costs["step_s"], costs["recovery_s"]
        except (OSError, ValueError, KeyError) as error:
            fail(f"{path}: {error!r}; \"source\", \"step_s\" and \"recovery_s\" are needed")

    def of_step(self, key, policy):
        return self.step_s.get(key, self.step_s.get(policy, self.step_s.get("default")))

    def of_recovery(self, label, policy):
        known = {"mirror": "mirror every 100", "checkpoint": "checkpoint every 50"}
        return next((self.recovery_s[key] for key in (label, policy, known.get(policy)) if key in self.recovery_s), None)


class Run:
    """One finished run, and where it was when."""

    def __init__(self, setting, kept, costs):
        self.setting, self.kept, self.costs = setting, kept, costs
        self.curve = [(commit, loss) for commit, loss, _ in kept["validation"]]
        self.final = self.curve[-1][1]
        self.losses = sum(len(stages) for _, _, stages, policy in kept["recoveries"] if policy != "checkpoint")
        if setting.job["recovery"].get("policy") == "checkpoint":
            self.losses = len(kept["recoveries"])  # the whole model went back

    def seconds(self, lines):
        """Until so many steps had been run; None if what it takes was not measured."""
        total = 0.0
        keys = self.setting.step_keys
        if len(keys) > 1:  # these runs lose nothing: the n-th step run is step n
            bounds = [step - 1 for step, _ in keys[1:]] + [lines]
            counts = [max(0, min(end, lines) - begin) for (begin, end) in zip([0] + bounds, bounds)]
        else:
            counts = [lines]
        for count, (_, key) in zip(counts, keys):
            if (each := self.costs.of_step(key, self.setting.job["recovery"].get("policy"))) is None:
                return None
            total += count * each
        for line, _, stages, policy in self.kept["recoveries"]:
            if line > lines + 1:
                continue
            if (each := self.costs.of_recovery(self.setting.label, policy)) is None:
                return None
            total += each if policy == "checkpoint" else each * len(stages)
        return total

    def reached(self, target):
        """(steps, steps run, modelled seconds or None) at which the validation loss was first at the target, in a line between
        two validations; None if it never was."""
        before = None
        for commit, loss, lines in self.kept["validation"]:
            now = (commit, lines, self.seconds(lines))
            if loss <= target:
                if before is None:
                    return now
                share = (before[1] - target) / (before[1] - loss)
                return tuple(None if b is None or a is None else a + share * (b - a) for a, b in zip(before[0], now))
            before = (now, loss)
        return None


def mean_of(values, digits):
    """Mean, and the range in brackets where there are several."""
    text = f"{statistics.fmean(values):.{digits}f}"
    return text if len(values) < 2 else f"{text} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def reached_of(runs, target, index, digits):
    found = [run.reached(target) for run in runs]
    values = [one[index] for one in found if one is not None]
    if not values:
        return "not reached"
    if any(value is None for value in values):
        return "not measured"
    text = mean_of(values, digits)
    return text if len(values) == len(runs) else f"{text}, by {len(values)} of {len(runs)}"


def table(rows, target):
    lines = ["| | lost a stage per step | losses | validation loss at the end | steps to it | steps run to it "
             "| modelled time to it, h |",
             "|---|---|---|---|---|---|---|"]
    for (label, rate), runs in rows.items():
        hours = reached_of([HourRun(run) for run in runs], target, 2, 3)
        lines.append(f"| {label} | {f'{100 * rate:g} %' if rate else 'never'} | {mean_of([run.losses for run in runs], 0)} | "
                     f"{mean_of([run.final for run in runs], 4)} | {reached_of(runs, target, 0, 0)} | "
                     f"{reached_of(runs, target, 1, 0)} | {hours} |")
    return "\n".join(lines) + "\n"


class HourRun:
    """A run whose modelled time is told in hours."""

    def __init__(self, run):
        self.run = run

    def reached(self, target):
        found = self.run.reached(target)
        return found and (found[0], found[1], None if found[2] is None else found[2] / 3600)


def mean_curve(runs, place):
    """Points of the mean over runs; `place` gives (run, commit, steps run) an x, or None."""
    points = []
    for entries in zip(*(run.kept["validation"] for run in runs)):
        places = [place(run, commit, lines) for run, (commit, _, lines) in zip(runs, entries)]
        if any(x is None for x in places):
            return []
        points.append((statistics.fmean(places), statistics.fmean(loss for _, loss, _ in entries)))
    return points


def write_plots(page, group, rows):
    """One plot against steps and one against modelled time (steps run, where that was not measured) for each rate. Returns
    their Markdown."""
    text = ""
    for rate in sorted({rate for _, rate in rows if rate}) or [0]:
        chosen = {label: runs for (label, own), runs in rows.items() if own in (0, rate)}
        timed = all(run.seconds(run.kept["lines"]) is not None for runs in chosen.values() for run in runs)
        axes = [("steps", "steps", lambda run, commit, lines: commit),
                ("time", "modelled hours", lambda run, commit, lines: run.seconds(lines) / 3600) if timed else
                ("run", "steps run, those that ran again too", lambda run, commit, lines: lines)]
        for name, x_name, place in axes:
            lost = f"each stage lost with {100 * rate:g} % per step" if rate else "nothing lost"
            title = f"Validation loss, {group}, {lost}"
            series = [(label, mean_curve(runs, place)) for label, runs in chosen.items()]
            file = page.with_name(f"{page.stem}-{group.split()[0].strip(',')}-{100 * rate:g}-{name}.svg")
            file.write_text(study_plot.line_chart(title, x_name, "nats a token", series), encoding="utf-8")
            text += f"![{title}, against {x_name}]({file.name})\n\n"
    return text


def write(page, study, results, wanted, costs, target):
    """`results`: [(setting, what is kept of its run), …] of the study's `wanted` settings."""
    groups = {setting.group: {} for setting, _ in results if setting.group} or {"runs": {}}
    for setting, kept in results:
        run = Run(setting, kept, costs)
        for group, rows in groups.items():
            if setting.group in ("", group):
                rows.setdefault((setting.label, setting.rate), []).append(run)
    calm = next(iter(groups.values())).get(("none", 0), [])
    if target is None:
        if not calm:
            fail("the run \"none\" is not finished, by which the loss to be reached is chosen; give --target")
        target = round(statistics.fmean(run.curve[3 * len(run.curve) // 4 - 1][1] for run in calm) + 0.005, 2)
    job = results[0][0].job
    model, pipeline = job["model"], job["pipeline"]
    tokens = pipeline["microbatches_per_step"] * pipeline["microbatch_size"] * job["data"]["sequence_length"]
    command = "scripts/study recovery" + {"full": "", "quick": " --quick", "gpu": " --gpu"}[study.size]
    left = wanted - len(results)
    unfinished = f" {left} of the {wanted} runs were not finished when this was written." if left else ""
    page.parent.mkdir(parents=True, exist_ok=True)
    sections = "\n".join(f"## {group.capitalize()}\n\n{table(rows, target)}\n{write_plots(page, group, rows)}"
                         for group, rows in groups.items())
    seeds = "1 seed" if study.seeds == 1 else f"{study.seeds} seeds"
    source = f"from {costs.source}" if costs.source else "not measured yet; `scripts/study_costs.json` has the place for it"
    page.write_text(f"""# What lost stages cost in training

Written by `{command}`. The same model from the same seeds, trained by `sidestep solo` with the same stages lost at the same steps under each
policy ([recovery.md](recovery.md)): {study.steps} steps of {tokens} tokens,
{pipeline['stages']} stages, {model['num_hidden_layers']} layers of width {model['hidden_size']}, {job['precision']}, text
`{study.text.name}` in bytes, {seeds}.{unfinished}

Each stage but stage 0 is lost with the same chance as a step begins. "Steps to it" are those to a validation loss of {target:.2f} nats a token; steps run
count those again that a roll-back repeats.{' Ranges are over seeds.' if study.seeds > 1 else ' One seed: a hint, not a result.'}

{sections}
Modelled time is a step's time for each step run, and a recovery's for each loss: {source}.

## The paper's figures

{PAPER}""", encoding="utf-8")
