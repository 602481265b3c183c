# SPDX-License-Identifier: Apache-2.0
"""run.py DIR: makes the Conan package of this tree and builds and runs test/package against it, all under DIR.

Exit status 77, with the reason, where Conan cannot be installed.
"""

import os
import pathlib
import shutil
import subprocess
import sys

root = pathlib.Path(__file__).resolve().parents[2]
work = pathlib.Path(sys.argv[1]).resolve()
work.mkdir(parents=True, exist_ok=True)


def quietly(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL)


conan = shutil.which("conan")
if not conan:
    venv = work / "venv"
    conan = str(venv / "bin" / "conan")
    for command in ([sys.executable, "-m", "venv", str(venv)], [str(venv / "bin" / "pip"), "install", "-q", "conan>=2,<3"]):
        if os.path.exists(conan):
            break
        done = quietly(*command)
        if done.returncode != 0:
            print(f"SKIP: conan cannot be installed: `{' '.join(command)}` says: {done.stdout.strip()[-500:]}")
            sys.exit(77)

os.environ["CONAN_HOME"] = str(work / "home")  # the user's own cache and profiles stay as they are
subprocess.run([conan, "profile", "detect", "--force"], check=True)
sys.exit(subprocess.run([
    conan, "create", str(root), "--no-remote", "--test-folder", str(root / "test" / "package"),
    "-s", "compiler.cppstd=20", "-c", "tools.cmake.cmaketoolchain:generator=Ninja",
    "-c", f"tools.cmake.cmake_layout:test_folder={work / 'test'}",
]).returncode)
