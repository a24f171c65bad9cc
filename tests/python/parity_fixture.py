"""Small LLaMA models with what transformers computes for them, in float32 on the CPU.

usage: parity_fixture.py FOLDER

For each case FOLDER/NAME/ gets config.json and model.safetensors, as save_pretrained writes them, and
expected.safetensors:
    tokens         [2, 17] int64; the model sees the first 16, its targets are the last 16
    logits         [2, 16, vocab]
    loss           [], mean over the 32 targets, nats
    gradient.NAME  of the loss by parameter NAME
FOLDER/versions.json says what computed them.
"""

import json
import pathlib
import platform
import sys

import safetensors.torch
import torch
import transformers

BATCH, POSITIONS = 2, 16

CASES = {
    # Every layer beyond the second repeats the one before it; two are enough for two stages.
    "grouped_query": dict(
        hidden_size=32, intermediate_size=48, num_attention_heads=4, num_key_value_heads=2),
    "tied": dict(
        hidden_size=32, intermediate_size=64, num_attention_heads=4, num_key_value_heads=4,
        tie_word_embeddings=True, rms_norm_eps=1e-5),
    "wide_heads": dict(
        hidden_size=48, intermediate_size=40, num_attention_heads=4, num_key_value_heads=1, head_dim=16,
        rope_theta=1e6, vocab_size=101),
    "tied_grouped_query": dict(
        hidden_size=40, intermediate_size=56, num_attention_heads=4, num_key_value_heads=2, head_dim=10,
        tie_word_embeddings=True, rope_theta=500.0, num_hidden_layers=3),
}
DEFAULTS = dict(vocab_size=96, num_hidden_layers=2, max_position_embeddings=64, initializer_range=0.2,
                bos_token_id=None, eos_token_id=None, pad_token_id=None, attn_implementation="eager")


def make(name, settings, folder):
    torch.manual_seed(sum(name.encode()))
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**DEFAULTS, **settings})).float()
    with torch.no_grad():
        for parameter in model.parameters():
            # Norms begin as ones, which would hide a norm that is left out.
            if parameter.dim() == 1:
                parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
    tokens = torch.randint(0, model.config.vocab_size, (BATCH, POSITIONS + 1))
    output = model(input_ids=tokens, labels=tokens)
    output.loss.backward()

    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    expected = {f"gradient.{key}": value.grad for key, value in model.named_parameters()}
    expected["tokens"] = tokens
    expected["logits"] = output.logits[:, :-1].detach().contiguous()
    expected["loss"] = output.loss.detach()
    safetensors.torch.save_file(expected, folder / "expected.safetensors")
    print(f"{name}: {sum(p.numel() for p in model.parameters())} parameters, loss {output.loss.item():.6f}")


def main(folder):
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name, settings in CASES.items():
        make(name, settings, folder / name)
    versions = {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__,
                "python": platform.python_version()}
    (folder / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{versions}, {size} bytes in all")


main(pathlib.Path(sys.argv[1]))
