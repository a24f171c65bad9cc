"""Exports load in transformers without a word of complaint and compute the logits that we compute.

usage: exports_test.py FOLDER   with what tests/python/write_exports.cpp wrote
"""

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


def main(folder):
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    cases = sorted(folder.glob("*.expected.safetensors"))
    assert cases, f"{folder} holds no case"
    for case in cases:
        name = case.name.split(".")[0]
        print(f"{name}: logits differ by {check(folder / name, safetensors.torch.load_file(case)):.1e}")
    print(f"{len(cases)} passed, 0 failed")


main(pathlib.Path(sys.argv[1]))
