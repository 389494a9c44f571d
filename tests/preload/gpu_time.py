# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# GPU time of each process within any span of time, from `simgpu watch`.
import subprocess
import threading
import time

import harness

MS = 1_000_000


class Watch:
    """Watches a machine; use it in a with statement."""

    def __init__(self, machine):
        self.machine = machine
        self.rows = {}  # pid: [(at_ns, gpu_time_ns)]

    def __enter__(self):
        self.process = subprocess.Popen(
            [harness.SIMGPU / "simgpu", "watch", "--dir", self.machine.folder.name,
             "--every", "2ms"], env=harness.base_environment(), text=True,
            stdout=subprocess.PIPE)
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        return self

    def _read(self):
        for line in self.process.stdout:
            at_ns, _, pid, used_ns, _ = map(int, line.split())
            self.rows.setdefault(pid, []).append((at_ns, used_ns))

    def __exit__(self, *_):
        self.process.terminate()
        self.reader.join()
        self.process.wait()
        self.process.stdout.close()

    def _used_at(self, pid, at_ns):
        """Between two lines as if the use had been even; before the first nothing."""
        before = (0, 0)
        for row in self.rows.get(pid, []):
            if row[0] >= at_ns:
                span_ns = row[0] - before[0]
                return before[1] + (row[1] - before[1]) * (at_ns - before[0]) / span_ns
            before = row
        return before[1]

    def percent(self, from_ns, to_ns, *pids):
        """Of the device, by these processes together, or by all."""
        used_ns = sum(self._used_at(pid, to_ns) - self._used_at(pid, from_ns)
                      for pid in pids or list(self.rows))
        return 100 * used_ns / (to_ns - from_ns)


def sleep_until(at_ns):
    time.sleep(max(0, (at_ns - time.monotonic_ns()) / 1e9))
