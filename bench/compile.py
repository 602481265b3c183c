# SPDX-License-Identifier: Apache-2.0
"""compile.py [--json FILE] [--repetitions R] [--compiler CXX] [--level O2]

What the library costs a translation unit: seconds of user time to compile one with Kokkos alone, with one composition,
and with seven; the ratio of the second to the first, and what each further composition adds, in units of the first. By
headers alone, and with GRADPRESS_COMPILED, where what no composition changes is in gradpress::compiled.
The files are compiled in turn, R times; the least of each counts.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile

root = pathlib.Path(__file__).resolve().parents[1]
METHODS = [
    "gp::top_k{.density = 0.01}, gp::error_feedback{}",
    "gp::random_block{}, gp::error_feedback{}",
    "gp::sign{}, gp::error_feedback{}",
    "gp::stochastic_int{.bits = 4}",
    "gp::bf16{}",
    "gp::top_k{.density = 0.01}, gp::stochastic_int{}, gp::error_feedback{}",
    "gp::threshold{.tau = 1e-3f}, gp::error_feedback{}",
]
LOW_RANK = ["gp::low_rank{}, gp::error_feedback{}"]


def program(methods):
    """Only what a program with these methods must include."""
    text = "#include <Kokkos_Core.hpp>\n"
    if methods:
        names = " ".join(methods)
        where = {"top_k": "select", "random_block": "select", "threshold": "select", "sign": "quantize",
                 "stochastic_int": "quantize", "bf16": "quantize", "low_rank": "project", "error_feedback": "feedback"}
        files = sorted({f"{folder}/{'cast' if word == 'bf16' else word}.hpp"
                        for word, folder in where.items() if f"gp::{word}{{" in names})
        text += "".join(f"#include <gradpress/{f}>\n" for f in ["communicate/threads.hpp", "reducer.hpp", *files])
        text += "namespace gp = gradpress;\nvoid train(gp::thread_communicator& comm, float* x) {\n"
        text += "  gp::reducer r{gp::serial{}, comm};\n"
        for i, method in enumerate(methods):
            text += f'  r.average(r.add("{i}", 64, 64, gp::compress_with({method})), x);\n'
        text += "}\n"
    return text + "int main() { Kokkos::initialize(); Kokkos::finalize(); }\n"


def kokkos_includes():
    """Where the build found Kokkos' headers."""
    commands = json.loads((root / "build/dev/compile_commands.json").read_text())
    words = next(c["command"] for c in commands if "bench/kernels.cpp" in c["file"]).split()
    return [word for i, w in enumerate(words) if w == "-isystem" for word in words[i:i + 2]]


def seconds(source, options):
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run([arguments.compiler, "-std=c++20", "-" + arguments.level, f"-I{root}/include", *includes,
                           *options, "-c", source, "-o", os.devnull], stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--json", help="append one JSON object a line to this file")
parser.add_argument("--repetitions", type=int, default=3)
parser.add_argument("--compiler", default=os.environ.get("CXX", "g++"))
parser.add_argument("--level", default="O2", help="of optimisation (O2)")
arguments = parser.parse_args()
includes = kokkos_includes()

ONCE = "-DGRADPRESS_COMPILED"
programs = {"one composition": METHODS[:1], "seven compositions": METHODS, "one with low_rank": LOW_RANK}
cases = {("Kokkos alone", ""): [], **{(name, how): methods for how in ("", ONCE) for name, methods in programs.items()}}
least = {}
with tempfile.TemporaryDirectory() as folder:
    for turn in range(arguments.repetitions):
        for (name, how), methods in cases.items():
            source = pathlib.Path(folder) / f"{name.replace(' ', '_')}.cpp"
            source.write_text(program(methods))
            least[name, how] = min(seconds(str(source), [how] if how else []), least.get((name, how), 1e9))

base = least["Kokkos alone", ""]
rows = [("Kokkos alone", base, 0)]
for how, label in (("", "headers alone: "), (ONCE, "compiled once: ")):
    one, seven, low_rank = (least[name, how] for name in programs)
    rows += [(label + "one composition", one, 3.0), (label + "one with low_rank", low_rank, 3.0),
             (label + "each further one", (seven - one) / (len(METHODS) - 1), 0.4)]
version = subprocess.run([arguments.compiler, "--version"], stdout=subprocess.PIPE, text=True).stdout.splitlines()[0]
print(f"# {version}, -{arguments.level}; user seconds, and their ratio to a file that includes Kokkos alone")
for name, user, must in rows:
    print(f"{name:32} {user:6.2f} s {user / base:6.2f} x" + (f"   must {must}" if must else ""))
if arguments.json:
    with open(arguments.json, "a") as out:
        for name, user, must in rows:
            out.write(json.dumps({"bench": "compile", "name": name, "compiler": version, "level": arguments.level,
                                  "seconds": round(user, 3), "times_kokkos": round(user / base, 3), "must": must,
                                  "checked": True}) + "\n")
