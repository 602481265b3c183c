# SPDX-License-Identifier: Apache-2.0
"""performance_page.py [--page FILE.md] [--machine TEXT] FILE.json...: writes a page, docs/performance.md, from what
`./dev bench NAME --json FILE` measured.

One JSON object a line; files may hold any of the benches kernels, select, step, peers, exchange, compile and cuda, in any
order. Of a case that was run several times the run counts whose quartiles lie closest: when the machine was quietest.
Sections of the page of which nothing was measured anew stay as they are.
"""

import argparse
import json
import pathlib
import platform
import sys

root = pathlib.Path(__file__).resolve().parents[2]
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("files", nargs="+", metavar="FILE.json")
parser.add_argument("--page", default=root / "docs/performance.md", type=pathlib.Path, help="docs/performance.md")
parser.add_argument("--machine", help="what to call the machine that measured, if it was not this one")
arguments = parser.parse_args()
rows = [json.loads(line) for name in arguments.files for line in open(name) if line.strip()]
wrong = [row["name"] for row in rows if row.get("checked") is False]
if wrong:
    sys.exit(f"these gave wrong answers and are no measurements: {', '.join(wrong)}")


def spread(row):
    m = row.get("m") or row.get("times") or row.get("times_dense")
    return (m["q3"] - m["q1"]) / m["median"] if m and "q3" in m else 0


case = ("bench", "device", "name", "n", "threads", "peer", "memory", "versions", "ranks", "link", "compiler", "level")
quietest = {}
for row in rows:
    key = tuple(row.get(part) for part in case)
    if key not in quietest or spread(row) <= spread(quietest[key]):
        quietest[key] = row
rows = list(quietest.values())


def processor():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.machine()


def instructions():
    text = open("/proc/cpuinfo").read()
    return "AVX-512" if " avx512f" in text else "AVX2" if " avx2" in text else "no AVX2"


def against(goal, value):
    """The goal, and whether it was reached."""
    return "" if not goal else f"{goal:g}" if value <= goal else f"{goal:g}, **missed**"


def of(bench):
    return [row for row in rows if row["bench"] == bench]


def groups(bench, *keys):
    found = {}
    for row in of(bench):
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found.items()


machine = arguments.machine or f"{processor()}, {instructions()}, two cores that other work shares"
out = ["# Measured speed", "",
       "Written by `bench/support/performance_page.py` from the output of `./dev bench NAME --json FILE`.", "",
       f"Machine: {machine}.", "",
       "Compiled with -O2 for generic x86-64, paths chosen at run time. **1 M is the time of one memcpy of the n floats in the",
       "same run** (8 n bytes moved), by as many threads; one is timed right before every sample, and the figure is the median",
       "of the ratios with its quartiles. *floor* is the least bytes of memory an element over 8: a kernel may go below it where",
       "memcpy pays for reading what it overwrites. *goal* is what we hold ourselves to, set on a machine with AVX-512; such a",
       "machine's own figures are in [performance-avx512.md](performance-avx512.md). Every case checked its answer in the same",
       "run. Of several runs of a case, that one is here whose quartiles lie closest together."]

large = 10_000_000  # goals are ratios of bandwidths; below, what a call costs beyond its bytes is what counts


def beyond_bandwidth(row):
    """Microseconds that a small case takes beyond the ratio of the same case at a large n; None if that was not run."""
    for other in of("kernels"):
        if (other["name"], other["threads"]) == (row["name"], row["threads"]) and other["n"] >= large:
            return 1e3 * row["ms"] * (1 - other["m"]["median"] / row["m"]["median"])
    return None


for (n, threads), found in groups("kernels", "n", "threads"):
    last = "goal" if n >= large else "us beyond bandwidth (goal: 100)"
    out += ["", f"## Kernels, n = {n:,}, {threads} thread{'s' if threads > 1 else ''}", "",
            f"| kernel | M | quartiles | floor | {last} | ms |", "|---|---|---|---|---|---|"]
    for row in found:
        m = row["m"]
        fixed = None if n >= large else beyond_bandwidth(row)
        note = against(row["must"], m["median"]) if n >= large else "" if fixed is None else f"{fixed:.0f}"
        out.append(f"| {row['name']} | **{m['median']:.2f}** | {m['q1']:.2f} - {m['q3']:.2f} | "
                   f"{row['floor'] or '':{'.2f' if row['floor'] else ''}} | {note} | "
                   f"{row['ms']:.2f}{f', {ns:.1f} ns an entry' if (ns := row['ns_an_entry']) else ''} |")

for (n, threads), found in groups("select", "n", "threads"):
    out += ["", f"## Selectors, n = {n:,}, {threads} thread{'s' if threads > 1 else ''}", "",
            "Selection alone, on three kinds of data; with error feedback `top_k` adds the memory in the same pass.", "",
            "| selector | data | M | quartiles | ms |", "|---|---|---|---|---|"]
    for row in found:
        name, data = row["name"].rsplit(", ", 1)
        m = row["m"]
        out.append(f"| `{name}` | {data} | **{m['median']:.2f}** | {m['q1']:.2f} - {m['q3']:.2f} | {row['ms']:.1f} |")

for (n, threads), found in groups("step", "n", "threads"):
    out += ["", f"## Whole steps, n = {n:,}, {threads} thread{'s' if threads > 1 else ''}", "",
            "Agreement, encode, decode, vote and commit in a world of one: what a codec costs a worker.", "",
            "| method | M | quartiles | ms |", "|---|---|---|---|"]
    out += [f"| {row['name']} | **{row['m']['median']:.2f}** | {row['m']['q1']:.2f} - {row['m']['q3']:.2f} | {row['ms']:.2f} |"
            for row in found]

def fastest(row, found):
    """Of the peers of a row: paired ratios can be compared, times of different minutes cannot."""
    return row["times"]["median"] == min(r["times"]["median"] for r in found if r["name"] == row["name"])


def over(goal, value):
    """The same for a goal that is the least."""
    return "" if not goal else f"{goal:g}" if value >= goal else f"{goal:g}, **missed**"


if of("peers"):
    out += ["", "## Against peers", "",
            "`./dev bench peers`: the same work by others and by our kernels, on one thread each, in one run and in turns: a",
            "sample of theirs beside a sample of ours. The figure is the median of the ratios of these pairs. Answers were",
            "compared: indices, signs and casts are equal, integer codes lie within their rounding, and products and PowerSGD's",
            "update and memory within 1e-3 of one another. Peers are torch as it comes, as `torch.compile` makes it, and as",
            "somebody writes it who knows what is slow there (random numbers drawn apart, PowerSGD's Q kept by columns). The",
            "fastest of each row is in italics, and *goal* holds against every one; numpy's selection is there without. With",
            "memory *kept*, peers get what our kernels have: huge pages, and what they free stays theirs. With memory of the",
            "*system* torch runs as it comes, and pays for new pages with every temporary. *owed*: PowerSGD's memory owes the",
            "last product instead of writing it; *factors*: the update is left as two factors, too, beside torch's whole step."]
for (n, memory, versions), found in groups("peers", "n", "memory", "versions"):
    out += ["", f"### {versions}, n = {n:,}, 1 thread, memory {memory}", "",
            "| work | peer | peer, ms | ours, ms | times faster | quartiles | goal |", "|---|---|---|---|---|---|---|"]
    for row in found:
        times, peer = row["times"], row["peer"]
        out.append(f"| {row['name']} | {f'*{peer}*' if fastest(row, found) else peer} | {row['peer_ms']:.2f} | "
                   f"{row['ms']:.2f} | **{times['median']:.2f}** | {times['q1']:.2f} - {times['q3']:.2f} | "
                   f"{over(row['must'], times['median'])} |")

for (ranks, link, n), found in groups("exchange", "ranks", "link", "n"):
    where = "not shaped" if link == "none" else f"{link}/s a link"
    out += ["", f"## Exchange between {ranks} processes, {where}, n = {n:,}", "",
            "MPI over shaped links, one thread a rank; ranks share the two cores. A dense step right before each sample.", "",
            "| method | bytes a rank | ms | of it codec | dense, ms | times faster | quartiles |", "|---|---|---|---|---|---|---|"]
    out += [f"| {row['name']} | {row['bytes']:,} | {row['ms']:.1f} | {row['encode_ms'] + row['decode_ms']:.1f} | "
            f"{row['dense_ms']:.1f} | **{row['times_dense']['median']:.2f}** | "
            f"{row['times_dense']['q1']:.2f} - {row['times_dense']['q3']:.2f} |" for row in found]
    out += ["", *(f"- `{row['name']}` chose {row['choice']}." for row in found if row.get("choice"))]

for (compiler, level), found in groups("compile", "compiler", "level"):
    out += ["", f"## Compile time, {compiler}, -{level}", "",
            "User seconds of one file, and their ratio to a file that includes Kokkos alone.", "",
            "| file | s | ratio | goal |", "|---|---|---|---|"]
    out += [f"| {row['name']} | {row['seconds']:.2f} | **{row['times_kokkos']:.2f}** | {against(row['must'], row['times_kokkos'])} |"
            for row in found]

for (device, n), found in groups("cuda", "device", "n"):
    peers = {(row["name"], row["peer"]): row for row in of("cuda-torch") if (row["device"], row["n"]) == (device, n)}
    others = sorted({peer for _, peer in peers})
    out += ["", f"## CUDA kernels on one {device}, n = {n:,}", "",
            "1 M is a copy inside the device's memory, timed by events in the same run, in turns. GB/s counts the floor's bytes.",
            *([f"Beside them {next(iter(peers.values()))['versions']} on the same device."] if peers else []), "",
            "| kernel | M | quartiles | floor | us | GB/s |" + "".join(f" {other}, us |" for other in others),
            "|---|---|---|---|---|---|" + "---|" * len(others)]
    for row in found:
        m, name = row["m"], row["name"].removesuffix(", stochastic")
        theirs = [peers.get((name, other)) for other in others]
        out.append(f"| {row['name']} | **{m['median']:.2f}** | {m['q1']:.2f} - {m['q3']:.2f} | {row['floor']:.2f} | "
                   f"{row['us']:.1f} | {row['floor'] * 8 * n / row['us'] * 1e-3:,.0f} |"
                   + "".join(f" {t['us']:.1f} |" if t else " |" for t in theirs))


def sections(text):
    """By title, the head of the page under none."""
    head, *others = text.rstrip("\n").split("\n## ")
    return {None: head.rstrip("\n"), **{part.split("\n", 1)[0]: part.rstrip("\n") for part in others}}


whole = {**(sections(arguments.page.read_text()) if arguments.page.exists() else {}), **sections("\n".join(out))}
arguments.page.write_text("\n\n## ".join(whole.values()) + "\n")
print(f"wrote {arguments.page} from {len(rows)} rows")
