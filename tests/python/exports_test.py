"""Exports load in transformers without a word of complaint and compute the logits that we compute.

usage: exports_test.py FOLDER   with what tests/python/write_exports.cpp wrote
"""

import json
import pathlib
import sys

import safetensors.torch
import torch
import transformers

TOLERANCE = 1e-4  # of the largest logit


def check(folder, expected):
    model, loading = transformers.LlamaForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True)
    for kind, names in loading.items():
        assert not names, f"{kind}: {names}"
    tied = model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert tied == model.config.tie_word_embeddings
    with torch.no_grad():
        logits = model(input_ids=expected["tokens"]).logits
    difference = ((logits - expected["logits"]).abs().max() / logits.abs().max()).item()
    assert difference < TOLERANCE, f"logits differ by {difference}"
    return difference


def check_loss(folder, text, status):
    """The swarm's last validation loss, on the last part of the text, which it never trained on."""
    model = transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    held_out = torch.tensor(list(text[int(0.95 * len(text)):]))
    rows = held_out[:len(held_out) // 32 * 32].reshape(-1, 32)
    with torch.no_grad():
        loss = model(input_ids=rows, labels=rows).loss.item()
    reported = status["job"]["validation_loss"]
    # Both are means over samples of the same text, not over the same windows.
    assert abs(loss - reported) < 0.05 * reported, f"loss {loss}, the swarm reported {reported}"
    assert reported < 3, "the job has learned nothing"  # a guess among 256 bytes has 5.5
    return loss, reported


def main(folder):
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    cases = sorted(folder.glob("*.expected.safetensors"))
    assert cases, f"{folder} holds no case"
    for case in cases:
        name = case.name.split(".")[0]
        print(f"{name}: logits differ by {check(folder / name, safetensors.torch.load_file(case)):.1e}")
    loss, reported = check_loss(folder / "swarm_job", (folder / "text.txt").read_bytes(),
                                json.loads((folder / "swarm_job.status.json").read_text()))
    print(f"swarm_job: loss {loss:.4f} on held-out text, the swarm reported {reported:.4f}")
    print(f"{len(cases)} passed, 0 failed")


main(pathlib.Path(sys.argv[1]))
