#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Runs a program that never uses CUDA with the preload, limits set, in an empty folder of its own,
# and sees that it cannot be told from a run without: no output, no file, no other exit status.
#
#   quiet.py LIBRARY PROGRAM
import os
import subprocess
import sys
import tempfile

VERDICTS = {
    10: "CUDA appeared on a machine without a driver",
    11: "dlsym does not answer as it should",
    12: "dlopen does not answer as it should",
    13: "a thread appeared",
    14: "an open file appeared",
    15: "threads or fork do not work",
    127: "the program could not be loaded",
}


def shared_memory():
    return set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()


def offences(library, program):
    before = shared_memory()
    with tempfile.TemporaryDirectory() as folder:
        environment = {"HOME": folder, "TMPDIR": folder, "XDG_RUNTIME_DIR": folder,
                       "CUSLICE_MEMORY": "1GiB", "CUSLICE_COMPUTE": "25%",
                       "LD_PRELOAD": library}
        result = subprocess.run([program], cwd=folder, env=environment, capture_output=True,
                                stdin=subprocess.DEVNULL, timeout=60, check=False)
        if os.listdir(folder):
            yield f"files appeared: {os.listdir(folder)}"
    if result.returncode != 0:
        yield VERDICTS.get(result.returncode, f"exit status {result.returncode}")
    if result.stdout or result.stderr:
        yield f"output appeared: {result.stdout + result.stderr}"
    # Other programs make files there as well; ours would bear our name.
    if any("cuslice" in name for name in shared_memory() - before):
        yield "a segment appeared in /dev/shm"


def main(library, program):
    found = list(offences(os.path.abspath(library), os.path.abspath(program)))
    for offence in found:
        print(f"{program}: {offence}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
