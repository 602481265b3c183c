# SPDX-License-Identifier: Apache-2.0
"""exchange.py [LINKS...] [--n N] [--repetitions R] [--only TEXT] [--json FILE] [--program PATH]

Steps of every method between MPI processes over links of a chosen speed, each right after a dense step. LINKS name the
number of ranks and the speed, as `4@1gbit`; `2@none` is not shaped. Each rank lives in a network namespace of its own
behind a bridge, and its link is shaped in both directions by a token bucket; bandwidth is limited, latency is the
kernel's. Needs root for that; without it, only links named `none` run, between processes of this machine.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

root = pathlib.Path(__file__).resolve().parents[1]
prefix = f"gradpress{os.getpid()}"
patience = 1200  # seconds for one kind of link; nothing here may hang for ever
bridge = prefix + "b"
# Smaller bursts halve the throughput: segments of 64 KiB leave the kernel whole.
bursts = {"1gbit": "128kb"}


def sh(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout.strip()}")


def space(i):
    return f"{prefix}n{i}"


@contextlib.contextmanager
def shaped_links(ranks, rate):
    """Namespaces of `ranks` hosts 10.77.0.1... on a bridge; its own, 10.77.0.254, is where programs are started."""
    made = []
    try:
        for name in [bridge, *map(space, range(ranks))]:
            sh("ip", "netns", "add", name)
            made.append(name)
        inside = ("ip", "netns", "exec")
        sh(*inside, bridge, "ip", "link", "add", "br0", "type", "bridge")
        sh(*inside, bridge, "ip", "addr", "add", "10.77.0.254/24", "dev", "br0")
        sh(*inside, bridge, "ip", "link", "set", "br0", "up")
        sh(*inside, bridge, "ip", "link", "set", "lo", "up")
        for i in range(ranks):
            sh(*inside, bridge, "ip", "link", "add", f"port{i}", "type", "veth", "peer", "name", "net0", "netns", space(i))
            sh(*inside, bridge, "ip", "link", "set", f"port{i}", "master", "br0", "up")
            sh(*inside, space(i), "ip", "addr", "add", f"10.77.0.{i + 1}/24", "dev", "net0")
            for device in ("net0", "lo"):
                sh(*inside, space(i), "ip", "link", "set", device, "up")
            for where, device in ((space(i), "net0"), (bridge, f"port{i}")):
                sh(*inside, where, "tc", "qdisc", "add", "dev", device, "root", "tbf", "rate", rate,
                   "burst", bursts.get(rate, "256kb"), "limit", "8mb")
        yield
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name])


def launch_over_links(ranks, rate, command):
    with shaped_links(ranks, rate), tempfile.TemporaryDirectory() as folder:
        # What MPI takes for ssh: the host's last number is the namespace's.
        agent = pathlib.Path(folder) / "agent"
        agent.write_text(f'#!/bin/sh\nhost=$1; shift\nexec ip netns exec {prefix}n$((${{host##*.}} - 1)) sh -c "$*"\n')
        agent.chmod(0o755)
        hosts = ",".join(f"10.77.0.{i + 1}:1" for i in range(ranks))
        mca = {"plm_rsh_agent": str(agent), "plm_rsh_no_tree_spawn": "1", "btl": "tcp,self", "pml": "ob1",
               "btl_tcp_if_include": "10.77.0.0/24", "oob_tcp_if_include": "10.77.0.0/24", "mpi_yield_when_idle": "1"}
        return subprocess.call(
            ["ip", "netns", "exec", bridge, "mpirun", "--allow-run-as-root", "--bind-to", "none", "--host", hosts,
             *(word for name, value in mca.items() for word in ("--mca", name, value)), *command],
            stdin=subprocess.DEVNULL, timeout=patience)


def launch_here(ranks, command):
    settings = os.environ | {"OMPI_MCA_btl_vader_single_copy_mechanism": "none", "OMPI_MCA_mpi_yield_when_idle": "1"}
    return subprocess.call(["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none",
                            "-n", str(ranks), *command], env=settings, stdin=subprocess.DEVNULL, timeout=patience)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("links", nargs="*", help="RANKS@RATE (default: 2@10gbit 4@1gbit)")
parser.add_argument("--n", default="25600000", help="elements (25600000)")
parser.add_argument("--repetitions", default="3", help="samples a method (3)")
parser.add_argument("--only", default="", help="methods whose name contains this")
parser.add_argument("--json", help="append one JSON object a line to this file")
parser.add_argument("--program", default=str(root / "build/dev/bench/bench.exchange.mpi_methods"))
arguments = parser.parse_args()

links = []
for text in arguments.links or ["2@10gbit", "4@1gbit"]:
    match = re.fullmatch(r"([0-9]+)@([0-9.]+[gm]bit|none)", text)
    if not match or not 1 <= int(match[1]) <= 64:
        sys.exit(f"exchange: '{text}' is not RANKS@RATE, such as 4@1gbit, 2@2.5gbit or 2@none")
    links.append((int(match[1]), match[2]))

status = 0
for ranks, rate in links:
    print(f"== {ranks} ranks, " + ("not shaped" if rate == "none" else f"{rate}/s a link") +
          f", one thread a rank, {os.cpu_count()} cores", flush=True)
    with tempfile.NamedTemporaryFile("r", suffix=".json") as rows:
        command = [arguments.program, "--n", arguments.n, "--repetitions", arguments.repetitions,
                   "--only", arguments.only, "--json", rows.name]
        try:
            status |= launch_here(ranks, command) if rate == "none" else launch_over_links(ranks, rate, command)
        except subprocess.TimeoutExpired:
            print(f"   given up after {patience} s")
            status = 1
            continue
        except (RuntimeError, OSError) as problem:
            print(f"   left out: links cannot be shaped here ({problem})")
            continue
        if arguments.json:
            with open(arguments.json, "a") as out:
                for line in rows:
                    out.write(json.dumps(json.loads(line) | {"link": rate}) + "\n")
sys.exit(1 if status else 0)
