# SPDX-License-Identifier: Apache-2.0
"""mutants.py [NAME]: plants the mistakes listed in mutants.txt, one at a time, and asks whether a test turns red.
mutants.py --fit: only says which no longer fit the code.

Works on a copy of the tree under build/mutants; builds only what the named tests run. Prints one line a mistake. Exit
status 1 if one was not caught or no longer fits the code, 2 if the tests were red before anything was planted.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

root = pathlib.Path(__file__).resolve().parents[2]
work = root / "build" / "mutants"
tree, build = work / "tree", work / "build"


def read_list(path):
    """Entries as dictionaries; the format is described at the top of mutants.txt."""
    entries = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("["):
            entries.append({"name": line.strip()[1:-1], "file": [], "old": [], "new": [], "test": []})
            continue
        key, _, value = line.partition(":")
        if not entries or key not in entries[-1]:
            sys.exit(f"{path}:{number}: neither a [name] nor one of file:, old:, new:, test:")
        entries[-1][key].append(value.removeprefix(" "))
    for entry in entries:
        for key in ("file", "old", "test"):
            if not entry[key]:
                sys.exit(f"{path}: [{entry['name']}] has no {key}:")
        entry.update({key: "\n".join(entry[key]) for key in ("file", "old", "new", "test")})
    return entries


def run(*command):
    return subprocess.run(command, cwd=tree, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)


def copy_tree():
    """Brings the copy up to date; files that did not change keep their times, so that nothing is built for nothing."""
    wanted = set()
    for folder, folders, names in os.walk(root):
        if folder == str(root):
            folders[:] = [name for name in folders if name not in ("build", ".git")]
        wanted |= {pathlib.Path(folder, name).relative_to(root) for name in names}
    if tree.exists():
        for p in tree.rglob("*"):
            if p.is_file() and p.relative_to(tree) not in wanted:
                p.unlink()
    for name in wanted:
        target = tree / name
        if not target.exists() or target.read_bytes() != (root / name).read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, target)


def configure():
    done = run("cmake", "--preset", "dev", "-B", str(build), "-DGRADPRESS_TEST_PACKAGES=OFF")
    if done.returncode:
        sys.exit(done.stdout)


def targets_of(tests):
    """How many tests match the regular expression `tests`, and the targets to build for them."""
    shown = run("ctest", "--test-dir", str(build), "-R", tests, "--show-only=json-v1")
    names = [test["name"] for test in json.loads(shown.stdout)["tests"]]
    known = set(re.findall(r"^([^\s:]+): phony$", run("ninja", "-C", str(build), "-t", "targets", "all").stdout, re.MULTILINE))
    wanted = set()
    for name in names:
        program = re.sub(r"\.[0-9]+$", "", name)  # without the number of ranks
        wanted |= {f"test.{program}", program.removeprefix("example.")}
    return len(names), sorted(wanted & known)


def red(tests):
    """None where the tests pass, else how they fail."""
    count, targets = targets_of(tests)
    if not count:
        return f"there is no test that matches {tests}"
    if targets:
        done = run("cmake", "--build", str(build), "-j", str(os.cpu_count()), "--target", *targets)
        if done.returncode:
            errors = re.findall(r"error: (.*)", done.stdout)
            return f"does not compile: {errors[0] if errors else done.stdout[-300:]}"
    done = run("ctest", "--test-dir", str(build), "-R", tests, "-j", str(os.cpu_count()))
    if done.returncode == 0:
        return None
    return ", ".join(re.findall(r"^\s+\d+ - (\S+) \(", done.stdout, re.MULTILINE)) or done.stdout[-300:]


entries = read_list(root / "test" / "support" / "mutants.txt")
if sys.argv[1:] == ["--fit"]:
    stale = [e for e in entries if not (root / e["file"]).exists() or (root / e["file"]).read_text().count(e["old"]) != 1]
    print("\n".join(f"[{e['name']}] is not once in {e['file']}" for e in stale) or f"{len(entries)} mistakes fit the code")
    sys.exit(1 if stale else 0)
if len(sys.argv) > 1:
    entries = [entry for entry in entries if sys.argv[1] in entry["name"]]
if not entries:
    sys.exit("no such entry in mutants.txt")
copy_tree()
configure()

for tests in sorted({entry["test"] for entry in entries}):
    complaint = red(tests)
    if complaint:
        print(f"Red before anything was planted ({tests}): {complaint}")
        sys.exit(2)

survivors = 0
for entry in entries:
    path = tree / entry["file"]
    before = path.read_text() if path.exists() else ""
    if before.count(entry["old"]) != 1:
        how = f"OUT OF DATE: its text is {before.count(entry['old'])} times in {entry['file']}"
        survivors += 1
    else:
        path.write_text(before.replace(entry["old"], entry["new"]))
        try:
            complaint = red(entry["test"])
        finally:
            path.write_text(before)
        how = f"caught: {complaint}" if complaint else f"NOT CAUGHT by {entry['test']}"
        survivors += complaint is None
    print(f"{entry['name']}: {how}", flush=True)

print(f"{len(entries) - survivors} of {len(entries)} mistakes caught")
sys.exit(1 if survivors else 0)
