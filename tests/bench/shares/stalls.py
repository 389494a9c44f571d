# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Whether the computer itself stood still: a virtual one does when its host serves others. Nothing
# is measured then but that.
import threading
import time

EVERY_S = 0.001
# What a thread of ours may wait for the interpreter, or for programs of the same priority.
LATE_S = 0.010
# In all of a case; a suite's claims have less room than that in their worst second.
STOOD_STILL_S = 0.020


class Stalls:
    """Sleeps for moments, in a thread, and notes how much later than that it woke up."""

    def __init__(self):
        self.late_s = 0.0
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)

    def look(self):
        before_s = time.monotonic()
        while not self.is_over.is_set():
            time.sleep(EVERY_S)
            now_s = time.monotonic()
            self.note(now_s - before_s)
            before_s = now_s

    def note(self, slept_s):
        if slept_s > LATE_S:
            self.late_s += slept_s

    def stood_still(self):
        return self.late_s > STOOD_STILL_S

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()
