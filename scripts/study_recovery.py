"""The settings of `scripts/study recovery`: which jobs are run, and what they are called in its tables.

Failures are drawn from (seed, step, stage) alone, so that every policy of one seed and rate loses the same stages at the
same steps; those of the lower rate are among those of the higher. Stage 0 is never drawn, as in the paper (CheckFree,
arXiv 2506.15461).
"""

import dataclasses
import re

# Steps, seeds, probabilities per stage per step, device.
SIZES = {
    "full": dict(steps=2000, seeds=3, rates=[0.002, 0.004], device="cpu"),
    "quick": dict(steps=1500, seeds=1, rates=[0.004], device="cpu"),
    "gpu": dict(steps=1500, seeds=1, rates=[0.006], device="cuda:0"),
}
STAGES = 6
# 1.2M parameters, 4 x 4 x 128 tokens a step; 21M parameters, 8 x 8 x 256 tokens a step.
CPU_SHAPE = dict(hidden_size=128, intermediate_size=352, num_hidden_layers=6, num_attention_heads=4, microbatches_per_step=4,
                 microbatch_size=4, sequence_length=128, learning_rate=2e-3)
GPU_SHAPE = dict(hidden_size=384, intermediate_size=1024, num_hidden_layers=12, num_attention_heads=6, microbatches_per_step=8,
                 microbatch_size=8, sequence_length=256, learning_rate=6e-4)

# Name in tables: the job's block `recovery`.
POLICIES = {
    "checkpoint every 50": {"policy": "checkpoint", "checkpoint_every": 50},
    "mirror every 1": {"policy": "mirror", "every": 1},
    "mirror every 100": {"policy": "mirror", "every": 100},
    "checkfree": {"policy": "checkfree"},
    "checkfree+": {"policy": "checkfree+"},
}
WEIGHTS = {
    "checkfree": {"policy": "checkfree"},
    "checkfree, fresh moments": {"policy": "checkfree", "moments": "fresh"},
    "uniform": {"policy": "checkfree", "weights": "uniform"},
    "uniform, fresh moments": {"policy": "checkfree", "weights": "uniform", "moments": "fresh"},
    "copy": {"policy": "checkfree", "weights": "copy"},
    "copy, fresh moments": {"policy": "checkfree", "weights": "copy", "moments": "fresh"},
    "random": {"policy": "checkfree", "weights": "random", "moments": "fresh"},
    "checkfree+": {"policy": "checkfree+"},
    "checkfree+, fresh moments": {"policy": "checkfree+", "moments": "fresh"},
}
AGES = {
    "checkfree, out 0 steps": {"policy": "checkfree"},
    "checkfree, out 1 step": {"policy": "checkfree", "out_steps": 1},
    "checkfree, out 10 steps": {"policy": "checkfree", "out_steps": 10},
    "mirror every 1": {"policy": "mirror", "every": 1},
    "mirror every 25": {"policy": "mirror", "every": 25},
    "mirror every 100": {"policy": "mirror", "every": 100},
    "mirror every 100, fresh moments": {"policy": "mirror", "every": 100, "moments": "fresh"},
}
SKIP_RATIOS = {"1/6": 1 / 6, "1/3": 1 / 3, "1/2": 1 / 2}


def falling(ratio):
    """From the ratio to none in four parts of a run: the ratio of each."""
    return [ratio * (3 - part) / 3 for part in range(4)]


def skip_parts():
    """Every ratio above 0 that some part of a run has."""
    return sorted({round(part, 6) for ratio in SKIP_RATIOS.values() for part in falling(ratio) if part > 0})


@dataclasses.dataclass(frozen=True)
class Setting:
    """One run: `label` names its line in the table and the plots of its group, together with the rate and all its seeds."""
    group: str  # empty: in those of all groups
    label: str
    rate: float
    seed: int
    job: dict
    step_keys: tuple  # ((from step, key in the costs' step_s), …), ascending

    @property
    def name(self):
        return f"{self.label}, {100 * self.rate:g} %, seed {self.seed}"

    @property
    def file_name(self):
        return re.sub(r"[^a-z0-9.+]+", "-", self.name.lower()).strip("-") + ".json"


class Study:
    def __init__(self, size, text, *, steps=None, seeds=None, rates=None, only=None):
        self.size, self.text, self.only = size, text, only
        chosen = SIZES[size]
        self.steps = steps or chosen["steps"]
        self.seeds = seeds or chosen["seeds"]
        self.rates, self.device = rates or chosen["rates"], chosen["device"]
        self.shape = GPU_SHAPE if size == "gpu" else CPU_SHAPE
        ablation = {"weights and moments": WEIGHTS, "mirrors, and steps left out": AGES}
        self.groups = ablation if size == "gpu" else {"policies": POLICIES}

    def settings(self):
        """All of them, in the order in which they are run: whole rows of the table early."""
        found = []
        for seed in range(1, self.seeds + 1):
            found.append(self._setting("", "none", 0, seed, {}))
            first = next(iter(self.groups))
            found.append(self._setting(first, "checkfree+'s swaps alone", 0, seed, {"recovery": {"policy": "checkfree+"}}))
            for group, policies in self.groups.items():
                for rate in reversed(self.rates):
                    for label, recovery in policies.items():
                        found.append(self._setting(group, label, rate, seed, {"recovery": recovery}))
            if self.size == "gpu":
                found += self._skipping(seed)
        return [setting for setting in found if not self.only or re.search(self.only, setting.name)]

    def _skipping(self, seed):
        """Routes that leave stages out, and nothing lost."""
        found = []
        for name, ratio in SKIP_RATIOS.items():
            for share in ("even", "depth"):
                pipeline = {"skip_ratio": ratio, "visit_share": share, "visit_slack": 0}
                found.append(self._setting("skipping", f"skip {name}, {share}", 0, seed, {"pipeline": pipeline},
                                           ((1, f"skip {ratio:.2f} {share}"),)))
            phases = [[1 + i * self.steps // 4, part] for i, part in enumerate(falling(ratio))]
            keys = tuple((step, "default" if part == 0 else f"skip {part:.2f} even") for step, part in phases)
            pipeline = {"skip_ratio": phases, "visit_slack": 0}
            found.append(self._setting("skipping", f"skip {name}, falling to none", 0, seed, {"pipeline": pipeline}, keys))
        return found

    def _setting(self, group, label, rate, seed, changes, step_keys=None):
        shape = dict(self.shape)
        pipeline = {key: shape.pop(key) for key in ("microbatches_per_step", "microbatch_size")}
        sequence_length, learning_rate = shape.pop("sequence_length"), shape.pop("learning_rate")
        every = max(1, self.steps // 80)
        job = {
            "name": "study",
            "steps": self.steps,
            "seed": seed,
            "precision": "bfloat16" if self.size == "gpu" else "float32",
            "model": {"vocab_size": 256, **shape},
            "pipeline": {"stages": STAGES, **pipeline, "slots": 4, "max_swaps": 2, **changes.get("pipeline", {})},
            "data": {"path": str(self.text.resolve()), "sequence_length": sequence_length},
            "optimizer": {"learning_rate": learning_rate, "beta2": 0.999, "clip_norm": 1.0,
                          "warmup_steps": min(100, self.steps // 10)},
            "validation": {"every": every, "microbatches": 16},
            "recovery": changes.get("recovery", {}),
            "failures": {"probability": rate, "seed": seed},
        }
        return Setting(group, label, rate, seed, job, step_keys or ((1, label),))
