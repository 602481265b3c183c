# SPDX-License-Identifier: Apache-2.0
"""Checks the direction of includes between the folders of include/gradpress, and that no umbrella needs more than Kokkos.

A layer is a folder, or a header at the top (compressor.hpp is the layer `compressor`). It may include itself and what
the table names. Prints one line per include that breaks it; exit status 1 if there is any.
"""

import pathlib
import re
import sys

FOUNDATION = {"core", "kernel", "concepts"}
POLICIES = {"project", "select", "quantize", "feedback", "encode"}  # never one another
STEP = FOUNDATION | POLICIES | {"exchange", "compressor"}
LIBRARY = STEP | {"communicate", "method", "reducer"}
EXTRAS = {"optimizer", "schedule", "scope", "privacy", "metrics"}
MAY_INCLUDE = {
    "core": set(),
    "kernel": {"core"},
    "concepts": {"core", "kernel"},
    **{policy: FOUNDATION for policy in POLICIES},
    "communicate": {"core", "concepts"},
    "exchange": FOUNDATION | {"encode"},
    "compressor": STEP,
    "method": STEP,
    "reducer": LIBRARY,
    **{extra: LIBRARY | EXTRAS for extra in EXTRAS},
    "recipes": LIBRARY | EXTRAS,
    "runtime": LIBRARY | EXTRAS | {"recipes"},
    "gradpress": LIBRARY | EXTRAS | {"recipes", "runtime"},
    "compiled": {"gradpress"},
}
# Headers that need more than Kokkos; reached only by whoever names them.
OPTIONAL = re.compile(r"(^|/)(mpi|nccl|cub)[^/]*\.hpp$|\.cuh$")
# Headers that cost compile time which few programs want to pay: the text form instantiates a whole catalogue.
BY_NAME = re.compile(r"^runtime/")

include_root = pathlib.Path(__file__).resolve().parents[2] / "include"
headers = {str(p.relative_to(include_root / "gradpress")): p
           for p in sorted(include_root.rglob("*")) if p.suffix in {".hpp", ".cuh"}}
included_by = {}
complaints = []


def layer(name):
    return name.split("/")[0].removesuffix(".hpp")


for name, path in headers.items():
    included_by[name] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        where = f"include/gradpress/{name}:{number}"
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if not match:
            continue
        if match[1] == '"':
            complaints.append(f'{where}: write #include <gradpress/...>, not "{match[2]}"')
            continue
        if not match[2].startswith("gradpress/"):
            continue
        target = match[2].removeprefix("gradpress/")
        included_by[name].append(target)
        source_layer, target_layer = layer(name), layer(target)
        if target not in headers:
            complaints.append(f"{where}: {target} does not exist")
        elif source_layer not in MAY_INCLUDE:
            complaints.append(f"{where}: the layer '{source_layer}' has no place in the order; give it one in {__file__}")
        elif target_layer != source_layer and target_layer not in MAY_INCLUDE[source_layer]:
            complaints.append(f"{where}: '{source_layer}' may not include '{target_layer}' ({target})")
        if OPTIONAL.search(target) and not OPTIONAL.search(name) and "/cuda/" not in name and "/device/" not in name:
            complaints.append(f"{where}: {target} needs more than Kokkos and belongs in no header that does not")

# Everything the umbrella reaches, directly or not.
reached, pending = {}, [("gradpress.hpp", None)]
while pending:
    name, via = pending.pop()
    if name in reached or name not in headers:
        continue
    reached[name] = via
    pending += [(target, name) for target in included_by[name]]
for name, via in reached.items():
    if OPTIONAL.search(name):
        complaints.append(f"include/gradpress/gradpress.hpp reaches {name} by way of {via}")

# An umbrella that forgets a header is found by nobody else: each other header is reached.
if "gradpress.hpp" in headers:
    for name in headers:
        left_out = OPTIONAL.search(name) or BY_NAME.search(name) or "/cuda/" in name or "/device/" in name
        if name not in reached and not left_out and layer(name) != "compiled":
            complaints.append(f"include/gradpress/{name}: gradpress.hpp does not reach it")

print("\n".join(sorted(set(complaints))) if complaints else f"includes: {len(headers)} headers, every one in order")
sys.exit(1 if complaints else 0)
