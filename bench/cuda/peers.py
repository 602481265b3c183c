# SPDX-License-Identifier: Apache-2.0
"""peers.py [--n N] [--repetitions R] [--json FILE]

The work of bench/cuda/kernels.cu by torch on the same device, eager and compiled, against a copy inside the device's
memory. Needs a Python that has torch with CUDA; installs nothing.
"""

import argparse
import json
import statistics
import sys

import torch

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--n", type=int, default=25600000, help="elements, a multiple of 1024 (25600000)")
parser.add_argument("--repetitions", type=int, default=9, help="samples a row (9)")
parser.add_argument("--json", help="append one JSON object a line to this file")
arguments = parser.parse_args()
if not torch.cuda.is_available():
    sys.exit("skipped: no CUDA device")
n, block = arguments.n, 1024

torch.manual_seed(1)
scale = 1e-3 * torch.exp2(torch.randint(0, 5, (n // block, 1), device="cuda").float() - 2)
g, e = ((torch.randn(n // block, block, device="cuda") * scale).reshape(n) for _ in range(2))
source, target = torch.randn(n, device="cuda"), torch.empty(n, device="cuda")


def top_k(x, k):
    index = torch.topk(x.abs(), k, sorted=False).indices
    return index, x[index]


def ef_top_k(g, e, k):
    a = g + e
    index, value = top_k(a, k)
    rest = a.clone()
    rest[index] = 0
    return index, value, rest


def encode(x, bits):
    """One scale a block of 1024, random rounding, codes packed into bytes."""
    top = (1 << (bits - 1)) - 1
    x = x.view(-1, block)
    scale = x.abs().amax(1, keepdim=True) / top
    inverse = torch.where(scale > 0, 1 / scale, torch.zeros_like(scale))
    q = torch.floor(x * inverse + torch.rand_like(x)).clamp(-top, top)
    codes = q.to(torch.int8)
    if bits < 8:
        each = 8 // bits
        parts = (codes.view(torch.uint8) & ((1 << bits) - 1)).view(x.shape[0], -1, each)
        packed = parts[:, :, 0]
        for j in range(1, each):
            packed = packed | (parts[:, :, j] << (bits * j))
        codes = packed
    return scale, codes, q


def encode_only(x, bits):
    return encode(x, bits)[:2]


def ef_encode(g, e, bits):
    a = g + e
    scale, codes, q = encode(a, bits)
    return scale, codes, a - (q * scale).view(-1)


def measure(name, call):
    call()
    torch.cuda.synchronize()
    ratio, microseconds = [], []
    at = [torch.cuda.Event(enable_timing=True) for _ in range(3)]
    calls = 3
    for _ in range(arguments.repetitions):
        at[0].record()
        for _ in range(calls):
            target.copy_(source)
        at[1].record()
        for _ in range(calls):
            call()
        at[2].record()
        at[2].synchronize()
        copies, bodies = at[0].elapsed_time(at[1]), at[1].elapsed_time(at[2])
        ratio.append(bodies / copies)
        microseconds.append(bodies * 1e3 / calls)
    m, us = statistics.median(ratio), statistics.median(microseconds)
    print(f"{name:40} {m:8.2f} M  {us:10.1f} us", flush=True)
    if arguments.json:
        with open(arguments.json, "a") as out:
            out.write(json.dumps({"bench": "cuda-torch", "device": device, "versions": f"torch {torch.__version__}",
                                  "name": name.rsplit(", ", 1)[0], "peer": name.rsplit(", ", 1)[1], "n": n, "m": m, "us": us}) + "\n")


device = torch.cuda.get_device_name()
print(f"# {device}, torch {torch.__version__}, n = {n}; ratios to one copy of n floats")
for label, k in ((".1 %", n // 1000), ("1 %", n // 100), ("10 %", n // 10)):
    measure(f"top-k {label}, torch", lambda: top_k(g, k))
    measure(f"EF + top-k {label}, torch", lambda: ef_top_k(g, e, k))
for bits in (8, 4, 2):
    measure(f"{bits} bit, torch", lambda: encode_only(g, bits))
    measure(f"EF + {bits} bit, torch", lambda: ef_encode(g, e, bits))
    for name, call in ((f"{bits} bit, torch.compile", lambda f: f(g, bits)),
                       (f"EF + {bits} bit, torch.compile", lambda f: f(g, e, bits))):
        torch._dynamo.reset()
        function = torch.compile(ef_encode if name.startswith("EF") else encode_only)
        measure(name, lambda: call(function))
