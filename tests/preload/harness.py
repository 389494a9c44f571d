# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# What the tests of this folder share: simulated machines, and clients that are run on them bare and
# with the preload. CMakeLists.txt says in the environment where everything lies:
#
#   PRELOAD_LIBRARY     libcuslice.so
#   PRELOAD_CLIENTS     folder of the client programs
#   PRELOAD_CUSLICE     the program cuslice
#   PRELOAD_SIMGPU      folder of simgpu's libraries and command
#   PRELOAD_SANITIZER   the sanitizer's own library, which has to come first; may be empty
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

LIBRARY = os.environ["PRELOAD_LIBRARY"]
CLIENTS = pathlib.Path(os.environ["PRELOAD_CLIENTS"])
SIMGPU = pathlib.Path(os.environ["PRELOAD_SIMGPU"])
CUSLICE = pathlib.Path(os.environ["PRELOAD_CUSLICE"])
SANITIZER = os.environ.get("PRELOAD_SANITIZER", "")
TREE = pathlib.Path(__file__).resolve().parents[2]

MIB = 1 << 20
QUOTA = 64 * MIB
OUT_OF_MEMORY, NOT_INITIALIZED, NO_DEVICE, MAP_FAILED = 2, 3, 100, 205
PATIENCE_S = 60  # a sanitizer on a slow machine


def base_environment():
    """Ours, without what a caller may have set for cuslice or simgpu. Each process is for itself,
    also where the tests run in a container, which makes a group."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("CUSLICE_", "SIMGPU_", "CUDA_")) and name != "LD_PRELOAD"}
    return kept | {"CUSLICE_GROUP": "none"}


def preload(*libraries):
    """The value of LD_PRELOAD for these libraries, behind the sanitizer's."""
    return ":".join(filter(None, (SANITIZER, *map(str, libraries))))


def client(name):
    return str(CLIENTS / f"client_{name}")

_HAS_NVML = (SIMGPU / "libnvidia-ml.so.1").exists()
needs_nvml = unittest.skipUnless(_HAS_NVML, "simgpu has no NVML")
needs_no_nvml = unittest.skipIf(_HAS_NVML, "simgpu has an NVML")


class Machine:
    """A simulated machine; use it in a with statement."""

    def __init__(self, **settings):
        # Contexts cost nothing unless a test is about them, so that quotas are exact.
        self.settings = {"kernel.busy": "1ms", "memory": "1GiB", "context_bytes": "0"} | settings

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="cuslice-")
        self.simgpu("start", *(f"-s{key}={value}" for key, value in self.settings.items()))
        return self

    def __exit__(self, *_):
        self.simgpu("stop")
        self.folder.cleanup()

    def simgpu(self, command, *arguments):
        done = subprocess.run([SIMGPU / "simgpu", command, "--dir", self.folder.name, *arguments],
                              env=base_environment(), capture_output=True, text=True, check=False,
                              timeout=PATIENCE_S)
        if done.returncode != 0:
            raise RuntimeError(f"simgpu {command}: {done.stdout}{done.stderr}")
        return done.stdout

    def account(self):
        return json.loads(self.simgpu("account", "--json"))

    def environment(self, limits=None, libraries=(LIBRARY,)):
        """limits None: bare. A dict: preloaded, with CUSLICE_<KEY>=<VALUE> for each."""
        environment = base_environment()
        environment["SIMGPU_DIR"] = self.folder.name
        environment["LD_LIBRARY_PATH"] = str(SIMGPU)
        if limits is not None:
            environment["LD_PRELOAD"] = preload(*libraries)
            environment |= {f"CUSLICE_{key}": value for key, value in limits.items()}
        elif SANITIZER:
            environment["LD_PRELOAD"] = SANITIZER
        return environment

    def run(self, *command, limits=None, libraries=(LIBRARY,), **more):
        environment = self.environment(limits, libraries) | more
        return subprocess.run(command, env=environment, capture_output=True, text=True,
                              check=False, timeout=PATIENCE_S)

    def start(self, *command, limits=None, libraries=(LIBRARY,), pass_fds=(), **more):
        """A client that is talked to while it runs; see Talk."""
        return subprocess.Popen(command, env=self.environment(limits, libraries) | more, text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                pass_fds=pass_fds)


def fields(output):
    """The lines of a client as a dict, from their first word to the rest."""
    return dict(line.partition(" ")[::2] for line in output.splitlines())


class Case(unittest.TestCase):
    maxDiff = None

    def finished(self, done, status=0, stderr=""):
        """The output of a client that ended as it should and said nothing it should not."""
        self.assertEqual((done.returncode, done.stderr), (status, stderr), done.stdout)
        return done.stdout


def main():
    unittest.main(argv=sys.argv[:1] + sys.argv[1:], verbosity=2)
