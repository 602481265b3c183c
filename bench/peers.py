# SPDX-License-Identifier: Apache-2.0
"""peers.py [--rows TEXT...] [--n N] [--repetitions R] [--quick] [--memory kept|system] [--json FILE] [--program PATH]

The same work by torch, numpy and by us on one thread of one machine, taking turns in one run: torch as it comes, as
torch.compile makes it, and as somebody writes it who knows what torch is slow at. Every answer is checked against ours.
The figure is the median of the ratios of neighbouring samples, peer to us, with its quartiles.

torch and numpy are installed into build/peers the first time, and said so.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

root = pathlib.Path(__file__).resolve().parents[1]
home = root / "build/peers"
stamp = home / "installed"
block = 1024  # elements a scale, as ours

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rows", nargs="+", default=[""], metavar="TEXT", help="rows whose name contains one of these")
parser.add_argument("--n", type=int, default=25600000, help="elements, a multiple of 1024 (25600000)")
parser.add_argument("--repetitions", type=int, default=9, help="samples a row (9)")
parser.add_argument("--quick", action="store_true", help="204800 elements, 3 samples: to see that it works")
parser.add_argument("--memory", choices=["kept", "system"], default="kept",
                    help="kept: peers have huge pages and keep what they free, as we do; system: as torch comes")
parser.add_argument("--json", help="append one JSON object a line to this file")
parser.add_argument("--program", default=str(root / "build/dev/bench/bench.peers.ours"))
arguments = parser.parse_args()
if arguments.quick:
    arguments.n, arguments.repetitions = 204800, 3
if arguments.n < 102400 or arguments.n % block or arguments.repetitions < 1:
    sys.exit("peers: --n is a multiple of 1024 and at least 102400, --repetitions at least 1")

settings = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
            "TORCHINDUCTOR_CACHE_DIR": str(home / "compiled"), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
if arguments.memory == "kept":
    settings |= {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "THP_MEM_ALLOC_ENABLE": "1"}


def install():
    """torch and numpy into a virtual environment of their own."""
    if stamp.exists():
        return
    print(f"Installing torch and numpy for the comparison into {home.relative_to(root)}: 3 GB to fetch, 5.5 GB of "
          "disk, some minutes", flush=True)
    home.parent.mkdir(exist_ok=True)
    log = root / "build/peers.log"
    with open(log, "w") as out:
        for command in ([sys.executable, "-m", "venv", str(home)],
                        [str(home / "bin/python"), "-m", "pip", "install", "torch", "numpy"]):
            if subprocess.call(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT):
                print("\n".join(log.read_text().splitlines()[-3:]))
                print(f"peers: left out, for they cannot be installed here; more in {log.relative_to(root)}")
                sys.exit(0)
    stamp.touch()


if pathlib.Path(sys.prefix).resolve() != home.resolve():
    install()
    # Read when a process starts. A core type chosen for another OpenBLAS would slow numpy's.
    fresh = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")} | settings
    os.execve(home / "bin/python", [str(home / "bin/python"), __file__, *sys.argv[1:]], fresh)

import logging  # noqa: E402: what follows needs the environment above

logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it would tell of a missing GPU
import numpy  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)


class Ours:
    """The program of our side; see bench/peers/ours.cpp for what it understands."""

    def __init__(self, folder):
        if not os.access(arguments.program, os.X_OK):
            sys.exit(f"peers: {arguments.program} is not built; ./dev bench peers builds it")
        self.file = pathlib.Path(folder) / "part"
        own = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "THP_"))}
        self.process = subprocess.Popen([arguments.program, "serve", "--n", str(arguments.n)], env=own, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, request):
        try:
            self.process.stdin.write(request + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return "nothing, and ended"
        return self.process.stdout.readline().strip()

    def must(self, request, expected):
        answer = self.ask(request)
        if answer != expected:
            sys.exit(f"peers: our side answered '{answer}' to '{request}'")

    def part(self, name, kind=torch.float32):
        """An input, or a part of the last answer."""
        self.must(f"write {name} {self.file}", "written")
        return torch.from_numpy(numpy.fromfile(self.file, dtype=numpy.uint8)).view(kind)

    def seconds(self):
        answer = self.ask("run")
        if not answer.isdigit():
            sys.exit(f"peers: our side answered '{answer}' to 'run'")
        return int(answer) / 1e9


# ---- the peers --------------------------------------------------------------------------------------------
# Each function makes one peer, with memory of its own, and returns a step that returns its answer. Formulations are the
# fastest of those tried; what is computed in place by us is in place here, too.


def top_k(k):
    magnitude = torch.empty_like(gradient)

    def step():
        return torch.topk(torch.abs(gradient, out=magnitude), k, sorted=False).indices
    return step


def arg_partition(k):
    x, magnitude = gradient.numpy(), numpy.empty(n, numpy.float32)

    def step():
        return torch.from_numpy(numpy.argpartition(numpy.abs(x, out=magnitude), n - k)[n - k:])
    return step


def memory_top_k(k, compiled):
    def chain(g, e):
        e.add_(g)
        at = torch.topk(e.abs(), k, sorted=False).indices
        values = e[at]
        e.index_fill_(0, at, 0)
        return at, values
    chain, e = compiled(chain), memory.clone()
    return lambda: (*chain(gradient, e), e)


def scaled(x, levels):
    blocks = x.view(-1, 2, block // 2)
    scale = blocks.abs().amax((1, 2), keepdim=True) / levels
    return scale, blocks / scale


def halves(codes):
    """Two codes a byte: element i of a block beside element i + 512, which vectorises; neighbours do not."""
    return (codes[:, 0] & 15) | (codes[:, 1] << 4)


def qsgd(compiled):
    def chain(g):
        scale, x = scaled(g, 7)
        return scale, halves(torch.floor(x + torch.rand_like(x)).clamp(-7, 7).to(torch.int8))
    chain = compiled(chain)
    return lambda: chain(gradient)


def qsgd_apart():
    def chain(g, u):
        scale, x = scaled(g, 7)
        return scale, halves(torch.floor(x + u.view_as(x)).clamp(-7, 7).to(torch.int8))
    chain, u = torch.compile(chain), torch.empty_like(gradient)
    return lambda: chain(gradient, torch.rand(n, out=u))


def int8(compiled):
    def chain(g):
        scale, x = scaled(g, 127)
        return scale, torch.round(x).to(torch.int8)
    chain = compiled(chain)
    return lambda: chain(gradient)


def memory_sign(compiled):
    def chain(g, e):
        sum = (e + g).view(-1, block)
        scale = sum.abs().mean(1, keepdim=True)
        negative = sum < 0
        e.copy_(torch.where(negative, sum + scale, sum - scale).view(-1))
        bits = negative.view(-1, 8).to(torch.uint8)
        byte = bits[:, 0]
        for i in range(1, 8):
            byte = byte | (bits[:, i] << i)
        return scale, byte
    chain, e = compiled(chain), memory.clone()
    return lambda: (*chain(gradient, e), e)


def cast(kind, compiled):
    def chain(g, out):
        return out.copy_(g)
    chain, out = compiled(chain), torch.empty(n, dtype=kind)
    return lambda: chain(gradient, out)


def power_as_in_hook(compiled):
    """The operations of torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook for one matrix, in its order."""
    def chain(g, e, Q, update):
        update.copy_(g).add_(e)
        sum = update.clone()
        P = torch.linalg.qr(torch.bmm(update, Q))[0]
        Q.copy_(torch.bmm(update.transpose(1, 2), P))
        update.copy_(torch.bmm(P, Q.transpose(1, 2)))
        e.copy_(sum - update)
        return update, e
    chain = compiled(chain)
    g, e, Q = (x.clone().unsqueeze(0) for x in (matrix, memory_matrix, factor))
    update = torch.empty_like(g)
    return lambda: chain(g, e, Q, update)


def power_turned():
    """The same in place, and with Q kept by columns: MKL is much faster so."""
    def step():
        e.add_(matrix)
        P = torch.linalg.qr(torch.mm(e, Qt.T))[0]
        torch.mm(P.T.contiguous(), e, out=Qt)
        torch.mm(P, Qt, out=update)
        e.sub_(update)
        return update, e
    e, Qt, update = memory_matrix.clone(), factor.T.contiguous(), torch.empty_like(matrix)
    return step


def power_fused():
    """The same with the last product written out, so that the compiler forms it beside what is subtracted."""
    def chain(g, e, Qt, update):
        sum = e + g
        P = torch.linalg.qr(sum @ Qt.T)[0]
        Q = P.T @ sum
        low = P[:, 0:1] * Q[0] + P[:, 1:2] * Q[1] + P[:, 2:3] * Q[2] + P[:, 3:4] * Q[3]
        update.copy_(low), e.copy_(sum - low), Qt.copy_(Q)
        return update, e
    chain, e, Qt, update = torch.compile(chain), memory_matrix.clone(), factor.T.contiguous(), torch.empty_like(matrix)
    return lambda: chain(matrix, e, Qt, update)


def product(Q):
    P = torch.empty(matrix.shape[0], Q.shape[1])
    return lambda: torch.mm(matrix, Q, out=P)


def product_numpy():
    M, Q, P = matrix.numpy(), factor.numpy(), numpy.empty((matrix.shape[0], factor.shape[1]), numpy.float32)
    return lambda: torch.from_numpy(numpy.dot(M, Q, out=P))


# ---- do the answers agree? --------------------------------------------------------------------------------


def near(left, right, most):
    left, right = left.double(), right.double()
    return bool(torch.linalg.vector_norm(left - right) <= most * torch.linalg.vector_norm(right))


def same_largest(magnitude, left, right):
    """The same indices, or others of equal magnitude: what is chosen among equals is anybody's choice."""
    left, right = left.long().sort().values, right.long().sort().values
    return bool((left[1:] > left[:-1]).all()) and left.shape == right.shape and (
        torch.equal(left, right) or torch.equal(magnitude[left].sort().values, magnitude[right].sort().values))


def agree_top_k(at):
    return same_largest(gradient.abs(), ours.part("indices", torch.uint32), at)


def agree_memory_top_k(answer):
    at, values, rest = answer
    sum, own = gradient + memory, ours.part("indices", torch.uint32)
    return (same_largest(sum.abs(), own, at) and torch.equal(sum[own.long()], ours.part("values")) and
            torch.equal(sum[at], values) and torch.equal(rest.index_fill(0, own.long(), 0),
                                                         ours.part("residual").index_fill(0, at, 0)))


def agree_integers(levels, random):
    def agree(answer):
        scale, codes = answer
        if codes.shape[1:] == (block // 2,):
            codes = torch.stack((codes << 4 >> 4, codes >> 4), 1)
        step, g = scale.view(-1, 1), gradient.view(-1, block)
        within = 1.001 if random else 0.501
        # Without bias the mean error is normal, of deviation half a step at most over the root of n.
        straight = 3 / n ** 0.5 if random else 1
        return all(bool(((x.view(-1, block) - g) / step).abs().max() <= within) and
                   abs(((x.view(-1, block) - g) / step).mean().item()) <= straight
                   for x in (ours.part("decoded"), codes.view(-1, block) * step)) and int(codes.abs().max()) == levels
    return agree


def agree_memory_sign(answer):
    scale, byte, rest = answer
    return torch.equal(ours.part("bits", torch.uint8), byte) and near(ours.part("residual"), rest, 1e-5)


def agree_cast(out):
    return torch.equal(ours.part("decoded", torch.int16), out.view(torch.int16))


def agree_product(P):
    return near(ours.part("product"), P.reshape(-1), 1e-3)


def agree_power(answer):
    update, rest = answer
    return near(ours.part("update"), update.reshape(-1), 1e-3) and near(ours.part("residual"), rest.reshape(-1), 1e-3)


# ---- rows: our row, the goal (0: none, a well-known reference), its peers, the check ------------------------


def as_it_is(f):
    return f


def both(make, *first):
    return {"torch": lambda: make(*first, as_it_is), "torch.compile": lambda: make(*first, torch.compile)}


def rows():
    found = []
    for percent, k in ((".1%", int(0.001 * n)), ("1%", int(0.01 * n))):
        found += [(f"top-k {percent}", 40, {"torch.topk": lambda k=k: top_k(k)}, agree_top_k),
                  (f"top-k {percent}", 0, {"numpy.argpartition": lambda k=k: arg_partition(k)}, agree_top_k),
                  (f"EF + top-k {percent}", 25, both(memory_top_k, k), agree_memory_top_k)]
    powers = {"torch, as in its hook": lambda: power_as_in_hook(as_it_is),
              "torch.compile, as in its hook": lambda: power_as_in_hook(torch.compile),
              "torch, Q by columns": power_turned,
              "torch.compile, Q by columns": power_fused}
    return found + [
        ("QSGD 4 bit", 15, both(qsgd) | {"torch.rand, torch.compile": qsgd_apart}, agree_integers(7, True)),
        ("EF + sign", 5, both(memory_sign), agree_memory_sign),
        ("int8 nearest", 1.8, both(int8), agree_integers(127, False)),
        ("bf16 cast", 1, both(cast, torch.bfloat16), agree_cast),
        ("fp16 cast", 1, both(cast, torch.float16), agree_cast),
        ("P = M Q r=4", 2, {"torch.mm": lambda: product(factor), "numpy.dot (OpenBLAS)": product_numpy,
                            "torch.mm, Q by columns": lambda: product(factor.T.contiguous().T)}, agree_product),
        ("PowerSGD r=4", 3, powers, agree_power),
        ("PowerSGD r=4, owed", 3, powers, agree_power),
        ("PowerSGD r=4, owed, factors", 5, powers, agree_power)]


def quartiles(ratios):
    return statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3


def measure(name, goal, peer, step, right):
    """Samples of both sides in turn, the other one first every second time."""
    step()
    ours.seconds()
    theirs, own = [], []
    for i in range(arguments.repetitions):
        for side in (0, 1) if i % 2 else (1, 0):
            if side:
                start = time.perf_counter()
                step()
                theirs.append(time.perf_counter() - start)
            else:
                own.append(ours.seconds())
    q1, median, q3 = quartiles([a / b for a, b in zip(theirs, own)])
    return {"bench": "peers", "name": name, "peer": peer, "n": n, "memory": arguments.memory,
            "versions": f"torch {torch.__version__.split('+')[0]}, numpy {numpy.__version__}",
            "times": {"q1": round(q1, 3), "median": round(median, 3), "q3": round(q3, 3)},
            "peer_ms": round(1e3 * statistics.median(theirs), 4), "ms": round(1e3 * statistics.median(own), 4),
            "must": goal if n >= large else 0, "checked": right}


def line(row):
    t = row["times"]
    fastest = row["times"]["median"] == min(r["times"]["median"] for r in results if r["name"] == row["name"])
    quarters = f"[{t['q1']:.2f}, {t['q3']:.2f}]"
    goal = f"{row['must']:4g} {'met' if t['median'] >= row['must'] else 'MISSED'}" if row["must"] else ""
    return (f"{row['name']:27} {'*' if fastest else ' '} {row['peer']:29} {row['peer_ms']:9.2f} {row['ms']:9.2f} "
            f"{t['median']:8.2f}  {quarters:18} " + (goal if row["checked"] else "WRONG ANSWER"))


n = arguments.n
large = 10_000_000  # goals are of what memory takes; below, what a call costs counts
wanted = [row for row in rows() if any(text in row[0] for text in arguments.rows)]
if not wanted:
    sys.exit("peers: no row is named so; there are: " + "; ".join(dict.fromkeys(row[0] for row in rows())))
results = []
with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
    ours = Ours(folder)
    gradient, memory = ours.part("gradient"), ours.part("memory")
    factor = ours.part("factor").view(-1, 4)
    matrix, memory_matrix = (x[:n // len(factor) * len(factor)].view(-1, len(factor)) for x in (gradient, memory))
    print(f"# torch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()}), numpy {numpy.__version__}, "
          f"python {platform.python_version()}; n = {n}, matrix {' x '.join(map(str, matrix.shape))}, 1 thread a side, "
          f"memory {arguments.memory}", flush=True)
    for name, goal, peers, agree in wanted:
        for peer, make in peers.items():
            print(f"# {name} by {peer} ...", end="", flush=True)
            ours.must(f"open {name}", "checked")
            torch._dynamo.reset()
            step = make()
            right = agree(step())
            results.append(measure(name, goal, peer, step, right))
            print(f" {results[-1]['times']['median']:.2f} times" + ("" if right else ", WRONG ANSWER"), flush=True)
    ours.process.stdin.close()
    ours.process.wait()

print(f"\n{'row':29} {'peer':29} {'peer, ms':>9} {'ours, ms':>9}    times faster [quartiles]  goal      * fastest peer")
print("\n".join(map(line, results)))
if any("owed" in row["name"] for row in results):
    print("\nowed: our memory owes the last product instead of writing it; factors: the update stays two factors, too")
if arguments.json:
    with open(arguments.json, "a") as out:
        out.writelines(json.dumps(row) + "\n" for row in results)
judged, wrong = [row for row in results if row["must"]], sum(not row["checked"] for row in results)
met = sum(row["times"]["median"] >= row["must"] for row in judged)
print("\n" + (f"{met} of {len(judged)} goals met" if judged else f"goals are of {large} elements and more") +
      f"; {wrong} wrong answers")
sys.exit(1 if wrong else 0)
