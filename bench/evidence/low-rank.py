# SPDX-License-Identifier: Apache-2.0
"""low-rank.py [--quick] [--page] [--folder DIR] [--program PATH]

Runs bench.evidence.low-rank, checks the files it leaves, and fills low-rank.md.in with their numbers. The whole run
replaces docs/evidence/low-rank.md, its charts and its tables; --quick trains a few steps and writes nothing outside its
folder; --page trains nothing.

What a template may hold is said in bench/support/evidence_page.py.
"""

import argparse
import math
import pathlib
import shutil
import subprocess
import sys

here = pathlib.Path(__file__).resolve().parent
root = here.parents[1]
sys.path.insert(0, str(root / "bench/support"))
from evidence_page import Mistake, check_chart, fill, read_curves, write_last

P = 4
tasks = "digits", "shakespeare"
labels = {
    "dense": "dense",
    "power_sgd_1": "PowerSGD, r = 1",
    "power_sgd_2": "PowerSGD, r = 2",
    "power_sgd_4": "PowerSGD, r = 4",
    "l_greco_2": "L-GreCo, r = 2 by default",
    "acp_sgd_2": "ACP-SGD, r = 2",
    "power_sgd_plus_2": "PowerSGD+, r = 2",
    "lq_sgd_2_8": "LQ-SGD, r = 2, 8 bits",
    "lq_sgd_2_4": "LQ-SGD, r = 2, 4 bits",
}
problems = {"subspace": "invariant subspace", "zeros": "zeros, 1 x 1", "matrix": "zeros, 4 x 3"}
solvers = {"published": "as published", "power_sgd": "`low_rank`", "power_sgd_plus": "`refreshed_low_rank`"}


class Run:
    """What the program wrote."""

    def __init__(self, folder):
        self.curves = read_curves(folder / "low-rank.csv", "task", "method", words=("ranks",))
        self.solved = read_curves(folder / "low-rank_problems.csv", "problem", "method")
        for task in tasks:
            for method in labels:
                if (task, method) not in self.curves:
                    raise Mistake(f"{folder} lacks {method} of {task}; train again")
        for problem in problems:
            for solver in solvers:
                if (problem, solver) not in self.solved:
                    raise Mistake(f"{folder} lacks {solver} of {problem}; run again")

    # ---- the small problems

    def size(self, problem, solver):
        """|X| over |X| at the start."""
        return self.solved[problem, solver][-1]["size"]

    def memory(self, problem, solver):
        return self.solved[problem, solver][-1]["memory"]

    def problem_table(self):
        lines = ["| problem | | " + " | ".join(solvers.values()) + " |", "| --- | --- |" + " ---: |" * len(solvers)]
        for p, title in problems.items():
            for what, of in (("size of X", self.size), ("memory", self.memory)):
                lines.append(f"| {title} | {what} | " + " | ".join(f"{of(p, s):.2g}" for s in solvers) + " |")
        return "\n".join(lines)

    # ---- training

    @staticmethod
    def compressed():
        return list(labels)[1:]

    def steps(self, task):
        return int(self.curves[task, "dense"][-1]["step"])

    def loss(self, task, method):
        """Of training: mean over the last fifth of the steps."""
        curve = self.curves[task, method]
        late = curve[-max(len(curve) // 5, 1):]
        return sum(r["loss"] for r in late) / len(late)

    def test(self, task, method):
        """digits: accuracy in percent; shakespeare: loss."""
        return self.curves[task, method][-1]["test"] * (100 if task == "digits" else 1)

    def contributed(self, task, method):
        """Bytes that a rank hands in, a step."""
        last = self.curves[task, method][-1]
        return last["contributed_bytes"] / last["step"]

    def arrived(self, task, method, ranks=P):
        """Bytes that a rank receives a step where rings carry sums and gathers."""
        last = self.curves[task, method][-1]
        handed_in, there = self.contributed(task, method), last["arrived_bytes"] / last["step"]
        # there = 2 (P - 1) / P summed + (P - 1) gathered
        gathered = (there - 2 * (P - 1) / P * handed_in) / ((P - 1) * (1 - 2 / P))
        return 2 * (ranks - 1) / ranks * (handed_in - gathered) + (ranks - 1) * gathered

    def fewer(self, task, method, ranks=P):
        return self.arrived(task, "dense", ranks) / self.arrived(task, method, ranks)

    def ranks(self, task):
        """Of the matrices, where L-GreCo left them."""
        return self.curves[task, "l_greco_2"][-1]["ranks"]

    def mean(self, name, task, method):
        values = [r[name] for r in self.curves[task, method]]
        return sum(values) / len(values)

    def table(self, task):
        test = "test accuracy" if task == "digits" else "test loss"
        lines = [f"| method | training loss | {test} | handed in | received | fewer | left behind |",
                 "| --- |" + " ---: |" * 6]
        for m, label in labels.items():
            shown = f"{self.test(task, m):.1f} %" if task == "digits" else f"{self.test(task, m):.3f}"
            left = "" if m == "dense" else f"{100 * self.mean('left', task, m):.0f} %"
            cells = [label, f"{self.loss(task, m):.{4 if task == 'digits' else 3}f}", shown,
                     f"{self.contributed(task, m):.0f}", f"{self.arrived(task, m):.0f}", f"{self.fewer(task, m):.1f}",
                     left]
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def growth_table(self, task, worlds):
        lines = ["| method | " + " | ".join(f"P = {w}" for w in worlds) + " |", "| --- |" + " ---: |" * len(worlds)]
        for m in ("dense", "power_sgd_1", "power_sgd_2", "acp_sgd_2", "lq_sgd_2_8", "lq_sgd_2_4"):
            lines.append(f"| {labels[m]} | " + " | ".join(f"{self.arrived(task, m, w):.0f}" for w in worlds) + " |")
        return "\n".join(lines)


def check_files(folder, run):
    for curves in (run.curves, run.solved):
        for key, curve in curves.items():
            for r in curve:
                if not all(math.isfinite(v) for k, v in r.items() if k != "ranks"):
                    raise Mistake(f"{key}: step {r['step']:.0f} has a value that is not finite")
    check_chart(folder / "low-rank_problems.svg", len(problems) * len(solvers))
    for task in tasks:
        for what in "steps", "bytes":
            check_chart(folder / f"low-rank_{task}_{what}.svg", len(labels))


def check_run(run):
    """What must be true of a few steps as of many."""
    for problem in problems:
        if not (run.size(problem, "published") > 0.5 and run.memory(problem, "published") > 100):
            raise Mistake(f"{problem}: PowerSGD as published was to stand still, and did not")
        for solver in "power_sgd", "power_sgd_plus":
            if not (run.size(problem, solver) < 1e-6 and run.memory(problem, solver) < 1e-5):
                raise Mistake(f"{problem}: {solver} was to arrive, and is at {run.size(problem, solver)}")
    for task in tasks:
        start = run.curves[task, "dense"][0]["loss"]
        if not run.loss(task, "dense") < start:
            raise Mistake(f"{task}: dense training does not lower the loss: {start} to {run.loss(task, 'dense')}")
        for method in labels:
            if not run.loss(task, method) < 1.5 * run.loss(task, "dense"):
                raise Mistake(f"{task}: {method} has loss {run.loss(task, method)}, dense {run.loss(task, 'dense')}")
            lost = max(r["lost"] for r in run.curves[task, method])
            if not lost < 1e-5:
                raise Mistake(f"{task}: {method} loses {lost} of its signals")
        sent = [run.contributed(task, m) for m in ("power_sgd_1", "power_sgd_2", "power_sgd_4", "dense")]
        if sent != sorted(sent) or not run.contributed(task, "lq_sgd_2_4") < run.contributed(task, "lq_sgd_2_8") < sent[1]:
            raise Mistake(f"{task}: a higher rank, or more bits, sends no more")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--page", action="store_true")
    options.add_argument("--folder", type=pathlib.Path)
    options.add_argument("--program", type=pathlib.Path, default=root / "build/dev/bench/bench.evidence.low-rank")
    o = options.parse_args()
    folder = o.folder or root / "build/evidence" / ("quick" if o.quick else "full")
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(o.program)] + ["--quick"] * o.quick + [str(folder)]
    if not o.page and subprocess.run(command).returncode:
        raise Mistake(f"{' '.join(command)} failed")

    run = Run(folder)
    check_files(folder, run)
    check_run(run)
    names = {name: getattr(run, name) for name in dir(run) if not name.startswith("_")} | {"tasks": tasks}
    page, broken = fill((here / "low-rank.md.in").read_text(), names, check=not o.quick)
    (folder / "low-rank.md").write_text(page)
    if o.quick:
        print(f"Everything works; a few steps are in {folder}")
        return
    if broken:
        raise Mistake("the words of low-rank.md.in are not true of this run; mend them:\n  " + "\n  ".join(broken))
    docs = root / "docs/evidence"
    docs.mkdir(exist_ok=True)
    for path in [folder / "low-rank.md"] + sorted(folder.glob("low-rank_*.svg")):
        shutil.copy(path, docs / path.name)
    write_last(folder / "low-rank.csv", docs / "low-rank.csv", "task", "method")
    print("Wrote docs/evidence/low-rank.md")


try:
    main()
except Mistake as problem:
    print(f"low-rank: {problem}", file=sys.stderr)
    sys.exit(1)
