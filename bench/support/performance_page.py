# SPDX-License-Identifier: Apache-2.0
"""performance_page.py FILE.json...: writes docs/performance.md from what `./dev bench kernels --json` and
`./dev bench step --json` measured. One JSON object a line."""
import json
import pathlib
import platform
import sys

root = pathlib.Path(__file__).resolve().parents[2]
rows = [json.loads(line) for name in sys.argv[1:] for line in open(name) if line.strip()]
if not rows:
    sys.exit("give it the files that --json wrote")


def processor():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.machine()


def flags():
    text = open("/proc/cpuinfo").read()
    return "AVX-512" if " avx512f" in text else "AVX2" if " avx2" in text else "no AVX2"


out = [
    "# Measured speed",
    "",
    "Written by `bench/support/performance_page.py` from the output of `./dev bench kernels --json` and `./dev bench step --json`.",
    "**1 M is the time of one memcpy of the n floats in the same run** (8 n bytes moved); a memcpy is timed right before every",
    "sample, and the figure is the median of the ratios with its quartiles. *floor* is the least bytes of memory an element over 8;",
    "below it a kernel reads from the cache or moves fewer bytes than memcpy's write-allocate. *goal* is what we hold ourselves to.",
    "Every kernel's answer was checked in the same run, where the last column says so.",
    "",
    f"Machine: {processor()}, {flags()}, shared with other work; compiled with -O2 for generic x86-64, paths chosen at run time.",
]
for n, threads in sorted({(r["n"], r["threads"]) for r in rows}, reverse=True):
    out += ["", f"## n = {n:,}, {threads} thread{'s' if threads > 1 else ''}", "", "| what | M, median | quartiles | floor | goal | ms | answer |", "|---|---|---|---|---|---|---|"]
    for r in (r for r in rows if (r["n"], r["threads"]) == (n, threads)):
        m, goal = r["m"], r["must"]
        mark = "" if goal == 0 else f"{goal:.2f}" + ("" if m["median"] <= goal else " (missed)")
        floor = f"{r['floor']:.2f}" if r["floor"] else ""
        out.append(f"| {r['name']} | **{m['median']:.2f}** | {m['q1']:.2f} - {m['q3']:.2f} | {floor} | {mark} | {r['ms']:.2f} | {'checked' if r['checked'] else ''} |")
(root / "docs/performance.md").write_text("\n".join(out) + "\n")
print(f"wrote docs/performance.md from {len(rows)} rows")
