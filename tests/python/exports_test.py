"""Exports load in transformers without a word of complaint and compute the logits that we compute; the
greedy tokens of `sidestep generate` are transformers' too.

usage: exports_test.py FOLDER SIDESTEP TEXT

FOLDER: what scripts/test-transformers and tests/python/write_exports.cpp wrote; TEXT: what the job there was
trained on
"""

import json
import pathlib
import subprocess
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
    rows = held_out[:len(held_out) // 128 * 128].reshape(-1, 128)
    with torch.no_grad():
        loss = model(input_ids=rows[::4], labels=rows[::4]).loss.item()
    reported = status["job"]["validation_loss"]
    # Both are means over samples of the same text, not over the same windows.
    assert abs(loss - reported) < 0.05 * reported, f"loss {loss}, the swarm reported {reported}"
    assert reported < 3, "the job has learned nothing"  # a guess among 256 bytes has 5.5
    return loss, reported


def check_generate(program, folder, prompt, count):
    """Greedy tokens of `sidestep generate` are those of transformers' generate."""
    ours = subprocess.run(
        [program, "generate", "--model", folder, "--prompt-tokens", ",".join(map(str, prompt)),
         "--max-tokens", str(count), "--temperature", "0"],
        check=True, capture_output=True, text=True).stdout
    model = transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokens = torch.tensor([prompt])
    theirs = model.generate(tokens, attention_mask=torch.ones_like(tokens), do_sample=False,
                            max_new_tokens=count, eos_token_id=None, pad_token_id=0)[0, len(prompt):]
    assert [int(token) for token in ours.split(",")] == theirs.tolist(), f"{ours} is not {theirs.tolist()}"


def layers_of(tensors, stage, count):
    """Of the stage's layers by their place in it: {"0.mlp.up_proj.weight": tensor}."""
    found = {}
    for name, tensor in tensors.items():
        parts = name.split(".")
        if parts[:2] == ["model", "layers"] and int(parts[2]) // count == stage:
            found[".".join([str(int(parts[2]) % count), *parts[3:]])] = tensor
    return found


def check_rebuilt(folder, spec, stage=2):
    """The lost stage is the average of its neighbours, weighted by the norms of their last gradients; the rest is as
    it was. Design: Recovery 3; CheckFree, arXiv 2506.15461."""
    whole = safetensors.torch.load_file(folder / "quickstart_model" / "model.safetensors")
    rebuilt = safetensors.torch.load_file(folder / "rebuilt_model" / "model.safetensors")
    count = spec["model"]["num_hidden_layers"] // spec["pipeline"]["stages"]
    recorded = json.loads((folder / "last_step.json").read_text().splitlines()[-1])
    norm = {entry["stage"]: min(entry["norm"], spec["optimizer"].get("clip_norm", 1.0)) for entry in recorded["stages"]}
    below, above = norm[stage - 1] + 1e-4, norm[stage + 1] + 1e-4
    largest = 0
    for name, tensor in layers_of(rebuilt, stage, count).items():
        expected = (below * layers_of(whole, stage - 1, count)[name].double() +
                    above * layers_of(whole, stage + 1, count)[name].double()) / (below + above)
        largest = max(largest, ((tensor.double() - expected).abs().max() / expected.abs().max()).item())
    assert largest < 1e-6, f"the rebuilt stage differs by {largest}"
    lost = {id(tensor) for tensor in layers_of(rebuilt, stage, count).values()}
    assert lost, "there is no such stage"
    for name, tensor in rebuilt.items():
        assert id(tensor) in lost or torch.equal(tensor, whole[name]), f"{name} is another one now"
    told = json.loads((folder / "rebuilt_model" / "sidestep_recoveries.json").read_text())["recoveries"][-1]
    assert told["stage"] == stage
    assert [source["stage"] for source in told["sources"]] == [stage - 1, stage + 1]
    assert abs(told["sources"][0]["weight"] - below / (below + above)) < 1e-9
    return largest


def main(folder, program, text):
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    cases = sorted(folder.glob("*.expected.safetensors"))
    assert cases, f"{folder} holds no case"
    for case in cases:
        name = case.name.split(".")[0]
        expected = safetensors.torch.load_file(case)
        print(f"{name}: logits differ by {check(folder / name, expected):.1e}")
        prompt = expected["tokens"][0][:4].tolist()
        check_generate(program, folder / name, prompt, 12)
        print(f"{name}: the 12 tokens that greedily follow {prompt} are the same")
    loss, reported = check_loss(folder / "quickstart_model", text.read_bytes(),
                                json.loads((folder / "quickstart_model.status.json").read_text()))
    print(f"quickstart_model: loss {loss:.4f} on held-out text, the swarm reported {reported:.4f}")
    difference = check_rebuilt(folder, json.loads((folder / "job.json").read_text()))
    print(f"a rebuilt stage differs from PyTorch's average by {difference:.1e}")
    print(f"{len(cases)} passed, 0 failed")


main(pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3]))
