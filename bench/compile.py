# SPDX-License-Identifier: Apache-2.0
"""compile.py [--json FILE] [--repetitions R] [--compiler CXX] [--level O2]

What the library costs a translation unit: seconds of user time to compile one with Kokkos alone, with one composition,
and with seven; the ratio of the second to the first, and what each further composition adds, in units of the first.
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


def seconds(source):
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run([arguments.compiler, "-std=c++20", "-" + arguments.level, f"-I{root}/include", *includes, "-c",
                           source, "-o", os.devnull], stderr=subprocess.PIPE, text=True)
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

cases = {"Kokkos alone": [], "one composition": METHODS[:1], "seven compositions": METHODS, "one with low_rank": LOW_RANK}
least = {}
with tempfile.TemporaryDirectory() as folder:
    for turn in range(arguments.repetitions):
        for name, methods in cases.items():
            source = pathlib.Path(folder) / f"{name.replace(' ', '_')}.cpp"
            source.write_text(program(methods))
            least[name] = min(seconds(str(source)), least.get(name, 1e9))

base, further = least["Kokkos alone"], (least["seven compositions"] - least["one composition"]) / (len(METHODS) - 1)
rows = [("Kokkos alone", base, 1.0, 0), ("one composition", least["one composition"], least["one composition"] / base, 3.0),
        ("one composition with low_rank", least["one with low_rank"], least["one with low_rank"] / base, 3.0),
        ("each further composition", further, further / base, 0.4)]
version = subprocess.run([arguments.compiler, "--version"], stdout=subprocess.PIPE, text=True).stdout.splitlines()[0]
print(f"# {version}, -{arguments.level}; user seconds, and their ratio to a file that includes Kokkos alone")
for name, user, ratio, must in rows:
    print(f"{name:32} {user:6.2f} s {ratio:6.2f} x" + (f"   must {must}" if must else ""))
if arguments.json:
    with open(arguments.json, "a") as out:
        for name, user, ratio, must in rows:
            out.write(json.dumps({"bench": "compile", "name": name, "compiler": version, "level": arguments.level,
                                  "seconds": round(user, 3), "times_kokkos": round(ratio, 3), "must": must,
                                  "checked": True}) + "\n")
