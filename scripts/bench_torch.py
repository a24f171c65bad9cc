#!/usr/bin/env python3
"""Trains a LLaMa in stock PyTorch (eager) on random tokens and prints its speed as one line of JSON.

The baseline of `scripts/bench`: the same network, batch, optimizer and clipping as a job of Sidestep, written as
a PyTorch user would: SDPA, fused RMSNorm, fused AdamW. It needs torch alone.

--dtype float32    everything in float32 (matrix products without TF32)
--dtype bfloat16   weights, gradients and moments in bfloat16 too: the fastest that eager PyTorch does
--dtype autocast   float32 weights, gradients and moments, bfloat16 where autocast says: the arithmetic of
                   a job with "precision": "bfloat16"
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.heads, self.kv_heads = a.heads, a.kv_heads
        self.head_dim = a.hidden // a.heads
        width = self.head_dim * a.kv_heads
        self.q = nn.Linear(a.hidden, a.hidden, bias=False)
        self.k = nn.Linear(a.hidden, width, bias=False)
        self.v = nn.Linear(a.hidden, width, bias=False)
        self.o = nn.Linear(a.hidden, a.hidden, bias=False)
        self.gate = nn.Linear(a.hidden, a.intermediate, bias=False)
        self.up = nn.Linear(a.hidden, a.intermediate, bias=False)
        self.down = nn.Linear(a.intermediate, a.hidden, bias=False)
        self.norm_1 = nn.RMSNorm(a.hidden, eps=1e-6)
        self.norm_2 = nn.RMSNorm(a.hidden, eps=1e-6)

    def forward(self, x, cosine, sine):
        batch, positions, _ = x.shape

        def heads(projection, count):
            return projection.view(batch, positions, count, self.head_dim).transpose(1, 2)

        y = self.norm_1(x)
        q = rotate(heads(self.q(y), self.heads), cosine, sine)
        k = rotate(heads(self.k(y), self.kv_heads), cosine, sine)
        v = heads(self.v(y), self.kv_heads)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.heads != self.kv_heads)
        x = x + self.o(attended.transpose(1, 2).reshape(batch, positions, -1))
        y = self.norm_2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


def rotate(x, cosine, sine):
    first, second = x.chunk(2, dim=-1)
    return x * cosine.to(x.dtype) + torch.cat((-second, first), dim=-1) * sine.to(x.dtype)


class Llama(nn.Module):
    def __init__(self, a):
        super().__init__()
        self.embedding = nn.Embedding(a.vocab, a.hidden)
        self.blocks = nn.ModuleList(Block(a) for _ in range(a.layers))
        self.norm = nn.RMSNorm(a.hidden, eps=1e-6)
        self.head = nn.Linear(a.hidden, a.vocab, bias=False)
        dim = a.hidden // a.heads
        angles = torch.outer(torch.arange(a.positions).float(), 10000.0 ** (-torch.arange(0, dim, 2).float() / dim))
        angles = torch.cat((angles, angles), dim=-1)
        self.register_buffer("cosine", angles.cos())
        self.register_buffer("sine", angles.sin())
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, tokens):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.cosine, self.sine)
        return self.head(self.norm(x))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab", type=int, default=32000)
    parser.add_argument("--hidden", type=int, required=True)
    parser.add_argument("--intermediate", type=int, required=True)
    parser.add_argument("--layers", type=int, required=True)
    parser.add_argument("--heads", type=int, required=True)
    parser.add_argument("--kv-heads", type=int, default=0, help="default: --heads")
    parser.add_argument("--batch", type=int, required=True, help="sequences in a microbatch")
    parser.add_argument("--positions", type=int, required=True, help="tokens in a sequence")
    parser.add_argument("--microbatches", type=int, default=1, help="of one update")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "autocast"), default="float32")
    parser.add_argument("--threads", type=int, default=0, help="compute threads; default: PyTorch's choice")
    parser.add_argument("--warmup", type=int, default=5, help="updates before timing begins")
    parser.add_argument("--steps", type=int, default=20, help="updates that are timed")
    parser.add_argument("--clip-norm", type=float, default=1.0, help="0: no clipping")
    a = parser.parse_args()
    a.kv_heads = a.kv_heads or a.heads
    if a.threads:
        torch.set_num_threads(a.threads)
    torch.manual_seed(1)
    device = torch.device(a.device)

    model = Llama(a)
    parameters = sum(p.numel() for p in model.parameters())
    model.to(device, torch.bfloat16 if a.dtype == "bfloat16" else torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    data = torch.randint(a.vocab, (a.warmup + a.steps, a.microbatches, a.batch, a.positions + 1))

    def step(number):
        optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for rows in data[number]:
            rows = rows.to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=a.dtype == "autocast"):
                logits = model(rows[:, :-1])
            loss = F.cross_entropy(logits.float().view(-1, a.vocab), rows[:, 1:].reshape(-1)) / a.microbatches
            del logits
            loss.backward()
            total += loss.detach()
        if a.clip_norm > 0:
            nn.utils.clip_grad_norm_(model.parameters(), a.clip_norm)
        optimizer.step()
        return total.item()  # waits for the device

    losses, seconds = [], []
    for number in range(a.warmup + a.steps):
        start = time.perf_counter()
        losses.append(step(number))
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds[a.warmup:])
    tokens = a.microbatches * a.batch * a.positions
    result = {
        "tokens_per_s": tokens / median,
        "step_s": median,
        "tokens_per_step": tokens,
        "parameters": parameters,
        "dtype": a.dtype,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "first_loss": losses[0],
        "last_loss": losses[-1],
    }
    if device.type == "cuda":
        result["memory_bytes_max"] = torch.cuda.max_memory_allocated(device)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
