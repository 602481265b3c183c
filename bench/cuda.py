# SPDX-License-Identifier: Apache-2.0
"""cuda.py [--kokkos FOLDER] [--no-peers] [--n N] [--repetitions R] [--only TEXT] [--json FILE] [--quick]

The CUDA kernels against a copy inside the device's memory, and torch on the same device where python3 has it. Needs nvcc,
a device, and a Kokkos built for it (Kokkos_ENABLE_CUDA=ON, Kokkos_ENABLE_SERIAL=ON): name the folder it was installed
into with --kokkos or in Kokkos_ROOT. Other arguments go to the programs.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys

root = pathlib.Path(__file__).resolve().parents[1]
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--kokkos", default=os.environ.get("Kokkos_ROOT"), metavar="FOLDER", help="$Kokkos_ROOT")
parser.add_argument("--no-peers", action="store_true", help="only our kernels")
parser.add_argument("--n", default="25600000", help="elements, a multiple of 1024 (25600000)")
parser.add_argument("--repetitions", default="15", help="samples a case (15)")
parser.add_argument("--json", help="append one JSON object a line to this file")
arguments, others = parser.parse_known_args()


def skip(why):
    print(f"skipped: {why}")
    sys.exit(0)


nvcc = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
if not nvcc:
    skip("no CUDA compiler")
if not arguments.kokkos:
    skip("no Kokkos for CUDA was named: --kokkos FOLDER, or Kokkos_ROOT")
kokkos = pathlib.Path(arguments.kokkos)
libraries = next((kokkos / name for name in ("lib", "lib64") if list((kokkos / name).glob("libkokkoscore.*"))), None)
if libraries is None:
    sys.exit(f"cuda: {kokkos} has no libkokkoscore in lib or lib64: --kokkos names the folder Kokkos was installed into")

program = root / "build/cuda-bench/kernels"
program.parent.mkdir(parents=True, exist_ok=True)
subprocess.run([nvcc, "-std=c++20", "-O3", "-arch=native", "--expt-extended-lambda", "--expt-relaxed-constexpr",
                f"-I{root}/include", f"-I{root}/bench", f"-I{kokkos}/include", str(root / "bench/cuda/kernels.cu"),
                "-o", str(program), f"-L{libraries}", "-lkokkoscore", "-lcuda", f"-Xlinker=-rpath={libraries}"], check=True)
common = ["--n", arguments.n, "--repetitions", arguments.repetitions]
common += ["--json", arguments.json] if arguments.json else []
status = subprocess.call([str(program), *common, *others])
has_torch = subprocess.call([sys.executable, "-c", "import torch"], stderr=subprocess.DEVNULL) == 0
if not arguments.no_peers and has_torch and not others:
    status = status or subprocess.call([sys.executable, str(root / "bench/cuda/peers.py"), *common])
sys.exit(status)
