# SPDX-License-Identifier: Apache-2.0
"""gtopk.py [--quick] [--page] [--task NAME] [--folder DIR] [--program PATH]

Runs bench.evidence.gtopk, checks the files it leaves, and fills gtopk.md.in with their numbers. The whole run replaces
docs/evidence/gtopk.md, its charts and its table; --quick trains a few steps and writes nothing outside its folder;
--task trains one task again, beside what the last run left of the others; --page trains nothing.

What a template may hold is said in bench/support/evidence_page.py.
"""

import argparse
import csv
import math
import pathlib
import shutil
import subprocess
import sys

here = pathlib.Path(__file__).resolve().parent
root = here.parents[1]
sys.path.insert(0, str(root / "bench/support"))
from evidence_page import Mistake, check_chart, fill

worlds = {"digits": (4, 8), "shakespeare": (4, 8), "shakespeare_plain": (4,)}  # numbers of ranks, by task
densities = 0.1, 0.01, 0.001
labels = {
    "dense": "dense",
    "top_k": "top-k",
    "gtop_k": "gTop-k",
    "gtop_k_published": "gTop-k, published",
    "random_k": "random-k",
    "top_k_warm": "top-k, warm-up",
    "gtop_k_warm": "gTop-k, warm-up",
}


class Run:
    """What the program wrote, by task, method, density and number of ranks."""

    def __init__(self, path):
        self.curves = {}
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                key = row["task"], row["method"], float(row["density"]), int(row["ranks"])
                values = {k: float(v) for k, v in row.items() if v and k not in ("task", "method")}
                self.curves.setdefault(key, []).append(values)
        for task in worlds:
            for P in worlds[task]:
                for method, d in [("dense", 1.0)] + self.compressed():
                    if (task, method, d, P) not in self.curves:
                        raise Mistake(f"{path} lacks {method} at {d} of {task}, P = {P}; train again")

    @staticmethod
    def compressed():
        plain = [(m, d) for d in densities for m in list(labels)[1:5]]
        return plain + [(m, densities[-1]) for m in list(labels)[5:]]

    def curve(self, task, method, density, P):
        return self.curves[task, method, 1.0 if method == "dense" else density, P]

    def loss(self, task, method, density=1.0, P=4):
        """Of training: mean over the last fifth of the steps."""
        curve = self.curve(task, method, density, P)
        late = curve[-max(len(curve) // 5, 1):]
        return sum(r["loss"] for r in late) / len(late)

    def test(self, task, method, density=1.0, P=4):
        """digits: accuracy in percent; shakespeare: loss. NaN if the run did not reach its end."""
        return self.curve(task, method, density, P)[-1].get("test", math.nan) * (100 if task == "digits" else 1)

    def sent(self, task, method, density=1.0, P=4):
        """Bytes of one rank and step on the wire."""
        last = self.curve(task, method, density, P)[-1]
        return last["wire_bytes"] / last["step"]

    def fewer(self, task, method, density=1.0, P=4):
        return self.sent(task, "dense", 1.0, P) / self.sent(task, method, density, P)

    def column(self, name, task, method, density, P):
        return [r[name] for r in self.curve(task, method, density, P) if name in r]

    def delta(self, task, method, density, P):
        """Largest ratio of the run."""
        return max(self.column("delta", task, method, density, P))

    def mean_delta(self, task, method, density, P):
        values = self.column("delta", task, method, density, P)
        return sum(values) / len(values)

    def lost(self, task, method, density, P):
        """What of the signals neither arrived nor was remembered: mean share of a step, of its norm."""
        values = self.column("lost", task, method, density, P)
        return sum(values) / len(values)

    def diverged(self, task, method, density=1.0, P=4):
        return not self.loss(task, method, density, P) < self.curve(task, method, density, P)[0]["loss"]

    def steps(self, task):
        return int(self.curve(task, "dense", 1.0, 4)[-1]["step"])

    def table(self, task, P):
        test = "test accuracy" if task == "digits" else "test loss"
        lines = [f"| method | density | training loss | {test} | bytes a step and rank | fewer | largest ratio | lost |",
                 "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
        for method, d in [("dense", 1.0)] + self.compressed():
            measured = self.test(task, method, d, P)
            shown = "-" if math.isnan(measured) else f"{measured:.1f} %" if task == "digits" else f"{measured:.3f}"
            loss = f"{self.loss(task, method, d, P):.{4 if task == 'digits' else 3}f}"
            if self.diverged(task, method, d, P):
                loss, shown = "diverged", "-"
            cells = [labels[method], f"{d:g}", loss, shown, f"{self.sent(task, method, d, P):.0f}",
                     f"{self.fewer(task, method, d, P):.1f}"]
            if method == "dense":
                cells += ["", ""]
            else:
                lost = self.lost(task, method, d, P)
                cells += [f"{self.delta(task, method, d, P):.3f}", "0" if lost < 1e-6 else f"{100 * lost:.1f} %"]
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)


def check_files(folder, run):
    for key, curve in run.curves.items():
        for r in curve:
            if not all(math.isfinite(v) for v in r.values()):
                raise Mistake(f"{key}: step {r['step']:.0f} has a value that is not finite")
    drawn = sorted(folder.glob("gtopk_*.svg"))
    if len(drawn) != 3 * len(worlds):
        raise Mistake(f"{folder} holds {len(drawn)} charts where {3 * len(worlds)} are drawn")
    for path in drawn:
        check_chart(path, 3 * 4)


def check_quick(run):
    for task in worlds:
        for P in worlds[task]:
            dense, near = run.loss(task, "dense", 1.0, P), run.loss(task, "top_k", 0.1, P)
            if abs(near / dense - 1) > 0.05:
                raise Mistake(f"{task}, P = {P}: top-k at 0.1 has loss {near}, dense {dense}: more than 5 % apart")
            start = run.curve(task, "dense", 1.0, P)[0]["loss"]
            if not dense < start:
                raise Mistake(f"{task}, P = {P}: dense training does not lower the loss: {start} to {dense}")
            for method, d in run.compressed():
                lost = run.lost(task, method, d, P)
                if method == "gtop_k_published":
                    if not lost > 1e-4:
                        raise Mistake(f"{task}, P = {P}: the published rule loses {lost}, which is nothing")
                elif not lost < 1e-6:
                    raise Mistake(f"{task}, P = {P}: {method} at {d} loses {lost} of its signals")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--page", action="store_true")
    options.add_argument("--task")
    options.add_argument("--folder", type=pathlib.Path)
    options.add_argument("--program", type=pathlib.Path, default=root / "build/dev/bench/bench.evidence.gtopk")
    o = options.parse_args()
    folder = o.folder or root / "build/evidence" / ("quick" if o.quick else "full")
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(o.program)] + ["--quick"] * o.quick + ["--draw"] * o.page
    command += ["--task", o.task] * bool(o.task) + [str(folder)]
    if subprocess.run(command).returncode:
        raise Mistake(f"{' '.join(command)} failed")

    run = Run(folder / "gtopk.csv")
    check_files(folder, run)
    names = {name: getattr(run, name) for name in dir(run) if not name.startswith("_")}
    names |= {"worlds": worlds, "densities": densities, "inf": math.inf}
    page, broken = fill((here / "gtopk.md.in").read_text(), names, check=not o.quick)
    (folder / "gtopk.md").write_text(page)
    if o.quick:
        check_quick(run)
        print(f"Everything works; a few steps are in {folder}")
        return
    if broken:
        raise Mistake("the words of gtopk.md.in are not true of this run; mend them:\n  " + "\n  ".join(broken))
    docs = root / "docs/evidence"
    docs.mkdir(exist_ok=True)
    for path in [folder / "gtopk.md"] + sorted(folder.glob("gtopk_*.svg")):
        shutil.copy(path, docs / path.name)
    with open(folder / "gtopk.csv") as whole, open(docs / "gtopk.csv", "w") as last:
        rows = list(csv.DictReader(whole))
        writer = csv.DictWriter(last, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        ends = {(r["task"], r["method"], r["density"], r["ranks"]): r for r in rows}  # the last record of each run
        writer.writerows(ends.values())
    print("Wrote docs/evidence/gtopk.md")


try:
    main()
except Mistake as problem:
    print(f"gtopk: {problem}", file=sys.stderr)
    sys.exit(1)
