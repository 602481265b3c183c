# SPDX-License-Identifier: Apache-2.0
"""feedback.py [--quick] [--page] [--folder DIR] [--programs DIR]

Runs the three programs bench.evidence.feedback_*, checks the files they leave, and fills feedback.md.in with their
numbers. The whole run replaces docs/evidence/feedback.md, its charts and its tables; --quick trains a few steps and
writes nothing outside its folder; --page trains nothing.

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

programs = "pairs", "training", "prediction"
pairs = {
    "N1": ("SGD", "sign", "sign_memory"),
    "N2": ("SGD", "sign", "sign_memory"),
    "N6": ("SGD", "error_feedback", "ef21", "ef21_sgdm"),
    "N7": ("gradient", "ratio", "model"),
    "N10": ("SGD", "top_k", "top_k_memory"),
    "N15": ("SGD", "codes", "diana", "ef21"),
}
tasks = {"digits": 0.2, "shakespeare": 1.0}  # and the learning rate
factors = 0.25, 0.5, 1, 2, 4
labels = {
    "sgd": "dense SGD",
    "ef": "error feedback (lambda = 0)",
    "def": "DEF (lambda = 0.3)",
    "def_a": "DEF-A",
    "saef": "SAEF (lambda = 1)",
    "cser": "CSER",
}
orders = 1, 2, 4
percents = 0, 10, 20, 40, 60
batches = {"all": "all images", "small": "64 images"}


class Run:
    """What the programs wrote."""

    def __init__(self, folder, quick):
        self.pairs = read_curves(folder / "feedback_pairs.csv", "pair", "method")
        self.training = {(t, m, float(f)): c for (t, m, f), c in
                         read_curves(folder / "feedback_training.csv", "task", "method", "factor").items()}
        self.prediction = read_curves(folder / "feedback_prediction.csv", "batch", "method")
        for pair, methods in pairs.items():
            for m in methods:
                if (pair, m) not in self.pairs:
                    raise Mistake(f"{folder} lacks {m} of {pair}; run again")
        for task in tasks:
            for m in labels:
                for f in (1.0,) if quick else factors:
                    if (task, m, f) not in self.training:
                        raise Mistake(f"{folder} lacks {m} of {task} at rate factor {f}; run again")
        for batch in batches:
            for m in ["dense", "codes"] + [f"p{p}_{t}" for p in orders for t in percents]:
                if (batch, m) not in self.prediction:
                    raise Mistake(f"{folder} lacks {m} with {batch}; run again")

    # ---- pairs

    def end(self, pair, method):
        return self.pairs[pair, method][-1]["value"]

    def late(self, pair, method):
        """Mean over the second half."""
        curve = self.pairs[pair, method]
        half = curve[len(curve) // 2:]
        return sum(r["value"] for r in half) / len(half)

    def worst(self, pair, method):
        """Largest absolute value over the last fifth."""
        curve = self.pairs[pair, method]
        return max(abs(r["value"]) for r in curve[-(len(curve) // 5):])

    # ---- training

    def last(self, task, method, factor=1.0):
        return self.training[task, method, float(factor)][-1]

    def loss(self, task, method, factor=1.0):
        """Of training: mean over the last fifth of the records."""
        curve = self.training[task, method, float(factor)]
        late = curve[-max(len(curve) // 5, 1):]
        return sum(r["loss"] for r in late) / len(late)

    def test(self, task, method, factor=1.0):
        """digits: accuracy in percent; shakespeare: loss."""
        return self.last(task, method, factor)["test"] * (100 if task == "digits" else 1)

    def early(self, task, method, share=0.2):
        """The test figure after that share of the steps."""
        curve = self.training[task, method, 1.0]
        return curve[max(int(len(curve) * share) - 1, 0)]["test"] * (100 if task == "digits" else 1)

    def steps(self, task):
        return int(self.last(task, "sgd")["step"])

    def bytes(self, task, method):
        last = self.last(task, method)
        return last["bytes"] / last["step"]

    def rate(self, task, factor):
        return tasks[task] * factor

    def best(self, task, method):
        """The factor with the lowest training loss."""
        return min(factors, key=lambda f: self.loss(task, method, f) if math.isfinite(self.loss(task, method, f)) else
                   math.inf)

    def training_table(self, task):
        test = "test accuracy" if task == "digits" else "test loss"
        lines = [f"| method | training loss | {test} after a fifth | {test} | bytes a step |", "| --- |" + " ---: |" * 4]
        for m, label in labels.items():
            unit = "{:.1f} %" if task == "digits" else "{:.3f}"
            cells = [label, f"{self.loss(task, m):.3f}", unit.format(self.early(task, m)),
                     unit.format(self.test(task, m)), f"{self.bytes(task, m):.0f}"]
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def rate_table(self, task):
        """Training loss; the lowest of a row in bold."""
        lines = ["| method | " + " | ".join(f"{self.rate(task, f):g}" for f in factors) + " |",
                 "| --- |" + " ---: |" * len(factors)]
        for m, label in labels.items():
            if m == "def_a":
                continue  # trains as DEF
            cells = []
            for f in factors:
                loss = self.loss(task, m, f)
                words = "diverges" if not loss < 5 else f"{loss:.3f}"
                cells.append(f"**{words}**" if f == self.best(task, m) else words)
            lines.append(f"| {label.replace('DEF (', 'DEF and DEF-A (')} | " + " | ".join(cells) + " |")
        return "\n".join(lines)

    # ---- prediction

    def predicted(self, batch, method, what):
        curve = self.prediction[batch, method]
        if what == "loss":
            late = curve[-max(len(curve) // 5, 1):]
            return sum(r["loss"] for r in late) / len(late)
        return curve[-1][what]

    def sends(self, batch, method):
        """Share of the steps in which a rank sent its residual."""
        last = self.prediction[batch, method][-1]
        return last["sends"] / last["step"]

    def bytes_to(self, batch, method, loss):
        """Bytes that a rank had handed in when the loss first was so low; infinite if it never was."""
        return min((r["bytes"] for r in self.prediction[batch, method] if r["loss"] <= loss), default=math.inf)

    def prediction_table(self, batch):
        lines = ["| threshold | " + " | ".join(f"p = {p}: sent | bytes | loss" for p in orders) + " |",
                 "| ---: |" + " ---: |" * (3 * len(orders))]
        for t in percents:
            cells = [f"{t} % of \\|g\\|"]
            for p in orders:
                m = f"p{p}_{t}"
                cells += [f"{100 * self.sends(batch, m):.0f} %", f"{self.predicted(batch, m, 'bytes') / 1e6:.2f} MB",
                          f"{self.predicted(batch, m, 'loss'):.4f}"]
            lines.append("| " + " | ".join(cells) + " |")
        cells = ["no prediction", "100 %", f"{self.predicted(batch, 'codes', 'bytes') / 1e6:.2f} MB",
                 f"{self.predicted(batch, 'codes', 'loss'):.4f}"]
        lines.append("| " + " | ".join(cells) + " |" + " |" * (3 * (len(orders) - 1)))
        return "\n".join(lines)


def check_files(folder, run):
    for pair, methods in pairs.items():
        check_chart(folder / f"feedback_{pair}.svg", len(methods) - (pair == "N1"))
    for task in tasks:
        for what in "steps", "rates":
            check_chart(folder / f"feedback_{task}_{what}.svg", len(labels))
    for what in "bytes", "sends":
        check_chart(folder / f"feedback_prediction_{what}.svg", len(orders) * (1 + len(percents)))
    for (task, method, factor), curve in run.training.items():
        if factor <= 1 and not all(math.isfinite(v) for r in curve for v in r.values()):
            raise Mistake(f"{task}, {method}, factor {factor}: a value is not finite")


def check_run(run):
    """What must be true of a few steps as of many."""
    must = {
        "N1: the sign goes the wrong way": run.end("N1", "sign") > 0.5 and run.end("N1", "sign_memory") < -0.5,
        "N2: the sign stands still": run.end("N2", "sign") == 0.6 and run.end("N2", "sign_memory") < 0.05,
        "N6: ef21 has a floor": run.late("N6", "ef21") > 3 * run.late("N6", "ef21_sgdm"),
        "N7: a memory in units of the gradient grows": run.end("N7", "ratio") > 1e6 and run.end("N7", "model") < 1e-15,
        "N10: top-k without a memory never sends v": run.end("N10", "top_k") == 1 and run.worst("N10", "top_k_memory") < 0.5,
        "N15: codes alone end in a ball": run.late("N15", "codes") > 1e3 * run.worst("N15", "diana"),
    }
    for words, holds in must.items():
        if not holds:
            raise Mistake(f"{words}: not in this run")
    for task in tasks:
        curve = run.training[task, "sgd", 1.0]
        if not run.loss(task, "sgd") < curve[0]["loss"]:
            raise Mistake(f"{task}: dense training does not lower the loss")
        if [r["loss"] for r in run.training[task, "def", 1.0]] != [r["loss"] for r in run.training[task, "def_a", 1.0]]:
            raise Mistake(f"{task}: DEF and DEF-A train differently")
        for m in labels:
            if m != "sgd" and not 20 < run.bytes(task, "sgd") / run.bytes(task, m) < 65:
                raise Mistake(f"{task}: {m} does not send one number in 64 of the matrices")
    for batch in batches:
        for p in orders:
            if not run.sends(batch, f"p{p}_0") == 1:
                raise Mistake(f"with threshold 0 every residual is sent; not with order {p}, {batch}")
            if not run.sends(batch, f"p{p}_60") <= run.sends(batch, f"p{p}_10"):
                raise Mistake(f"a higher threshold sends more: order {p}, {batch}")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--page", action="store_true")
    options.add_argument("--folder", type=pathlib.Path)
    options.add_argument("--programs", type=pathlib.Path, default=root / "build/dev/bench")
    o = options.parse_args()
    folder = o.folder or root / "build/evidence" / ("quick" if o.quick else "full")
    folder.mkdir(parents=True, exist_ok=True)
    for name in [] if o.page else programs:
        command = [str(o.programs / f"bench.evidence.feedback_{name}")]
        command += ["--quick"] * o.quick + [str(folder)]
        if subprocess.run(command).returncode:
            raise Mistake(f"{' '.join(command)} failed")

    run = Run(folder, o.quick)
    check_files(folder, run)
    check_run(run)
    if o.quick:
        print(f"Everything works; a few steps are in {folder}")
        return
    names = {name: getattr(run, name) for name in dir(run) if not name.startswith("_")}
    names |= {"tasks": tasks, "factors": factors, "labels": labels, "percents": percents, "orders": orders}
    page, broken = fill((here / "feedback.md.in").read_text(), names, check=True)
    (folder / "feedback.md").write_text(page)
    if broken:
        raise Mistake("the words of feedback.md.in are not true of this run; mend them:\n  " + "\n  ".join(broken))
    docs = root / "docs/evidence"
    for path in [folder / "feedback.md"] + sorted(folder.glob("feedback_*.svg")):
        shutil.copy(path, docs / path.name)
    for name, key in (("training", ("task", "method", "factor")), ("prediction", ("batch", "method"))):
        write_last(folder / f"feedback_{name}.csv", docs / f"feedback_{name}.csv", *key)
    print("Wrote docs/evidence/feedback.md")


try:
    main()
except Mistake as problem:
    print(f"feedback: {problem}", file=sys.stderr)
    sys.exit(1)
