"""Instances for `scripts/bench plan`: families out of configs/instances/wan.json, and edits of instances.

The program makes the instance (`sidestep plan --from-wan … --write-instance`); what its flags do not say (speeds,
memory, averaging) is edited in the JSON here, drawn by the seed, so that the same family is the same everywhere.
"""

import copy
import json
import random

LAYERS_PER_STAGE = 4
# The smallest to the largest that the issue names, two microbatches a node.
SHAPES = [(12, 4), (20, 6), (50, 8), (100, 12), (200, 16), (500, 24), (1000, 32)]
QUICK_SHAPES = [(12, 4), (50, 8), (100, 12)]


def job(stages, microbatches):
    return {
        "name": f"bench-{stages}-stages",
        "steps": 1,
        "model": {"vocab_size": 32000, "hidden_size": 1024, "intermediate_size": 2736,
                  "num_hidden_layers": LAYERS_PER_STAGE * stages, "num_attention_heads": 16},
        "pipeline": {"stages": stages, "microbatches_per_step": microbatches, "microbatch_size": 2},
        "data": {"path": "none", "format": "tokens", "sequence_length": 1024},
        "optimizer": {"learning_rate": 1e-4},
    }


def families(quick):
    """(name, nodes, stages, heterogeneous, tight, held out): every third is held out of any tuning."""
    result = []
    for nodes, stages in QUICK_SHAPES if quick else SHAPES:
        for heterogeneous in (False, True):
            for tight in (False, True):
                name = (f"{nodes} nodes, {stages} stages, {'mixed' if heterogeneous else 'equal'} speeds, "
                        f"{'tight' if tight else 'loose'} memory")
                result.append((name, nodes, stages, heterogeneous, tight, len(result) % 3 == 2))
    return result


def without_averaging(instance):
    instance = copy.deepcopy(instance)
    for key in ("stage_bytes", "latency_s", "bandwidth_bytes_per_s"):
        instance.pop(key, None)
    return instance


def per_stage(value, stages):
    return value if isinstance(value, list) else [value] * stages


def shaped(instance, seed, heterogeneous, tight):
    """Nodes 1 to 4 times slower where speeds are mixed; memory for a stage and 1 to 3 slots, or 6 to 8."""
    instance = copy.deepcopy(instance)
    generator = random.Random(seed)
    instance["stage_memory_bytes"] = 4 << 30
    instance["slot_memory_bytes"] = 1 << 30
    for node in instance["nodes"]:
        slower = 4 ** generator.random() if heterogeneous else 1
        for key in ("forward_s", "backward_s"):
            times = [round(slower * time, 6) for time in per_stage(node[key], instance["stages"])]
            node[key] = times
        node["head_s"] = round(slower * node["head_s"], 6)
        slots = generator.randint(1, 3) if tight else generator.randint(6, 8)
        node["slots"] = 8
        node["memory_bytes"] = (4 + slots) << 30
    return instance


def with_averaging_times(instance, factor):
    """Stages of other sizes, so that averaging takes about `factor` times as long."""
    instance = copy.deepcopy(instance)
    instance["stage_bytes"] = [max(1, round(factor * size))
                               for size in per_stage(instance["stage_bytes"], instance["stages"])]
    return instance


def held_by(plan, node):
    held = plan["stage_of"].get(str(node["id"]), [])
    return held if isinstance(held, list) else [held]


def can_lose(instance, plan, index):
    """Not an origin where each has its number of microbatches: the step would become another one."""
    return "microbatches_per_origin" not in instance or 0 not in held_by(plan, instance["nodes"][index])


def without_node(instance, plan, index):
    instance = copy.deepcopy(instance)
    node = instance["nodes"].pop(index)
    for stage in held_by(plan, node):
        if "stage_sizes" in instance:
            instance["stage_sizes"][stage] -= 1
    for key in ("transfer_s", "latency_s", "bandwidth_bytes_per_s"):
        if key in instance:
            instance[key] = [row[:index] + row[index + 1:] for i, row in enumerate(instance[key]) if i != index]
    return instance


def write(path, instance):
    path.write_text(json.dumps(instance) + "\n")
    return path
