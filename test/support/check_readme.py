# SPDX-License-Identifier: Apache-2.0
"""The program that README.md shows is the one that is compiled and run as examples/readme."""
import pathlib
import sys

root = pathlib.Path(__file__).resolve().parents[2]
source = (root / "examples/readme/main.cpp").read_text()
shown = source.split("// readme-begin\n")[1].split("// readme-end")[0].strip()
if shown not in (root / "README.md").read_text():
    sys.exit("README.md does not show what stands between the marks of examples/readme/main.cpp; paste it")
