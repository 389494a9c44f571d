# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# What is measured: cells of the matrix, and tenants side by side. Shares are percent, times ns.
import argparse
import re
from dataclasses import dataclass

PATTERNS = ("sync", "queue", "graph", "streams")
PERIODIC = ("requests", "phases", "thinks")
GRAPH_NODES = 20  # as workload.c has it
REQUEST_PERIOD_NS = 10_000_000
DEFAULT_LENGTH_NS = 1_000_000  # of tenants' kernels

_UNITS = {"us": 1000, "ms": 1000_000, "s": 1000_000_000}


def length_of(text):
    found = re.fullmatch(r"(\d+)(us|ms|s)", text)
    if not found or int(found[1]) == 0:
        raise argparse.ArgumentTypeError(f'"{text}": a time such as 100us or 1ms is needed')
    return int(found[1]) * _UNITS[found[2]]


def length_text(length_ns):
    for unit in ("s", "ms", "us"):
        if length_ns % _UNITS[unit] == 0:
            return f"{length_ns // _UNITS[unit]} {unit.replace('u', 'µ')}"
    return f"{length_ns} ns"


def share_of(text):
    if not re.fullmatch(r"\d+(\.\d+)?", text) or not 0 < float(text) <= 100:
        raise argparse.ArgumentTypeError(f'"{text}": a share from 1 to 100 (percent) is needed')
    return float(text)


def pattern_of(text):
    if text not in PATTERNS:
        raise argparse.ArgumentTypeError(f'"{text}": a pattern is {", ".join(PATTERNS)}')
    return text


def list_of(one):
    return lambda text: [one(part) for part in text.split(",")]


@dataclass(frozen=True)
class Load:
    """What a program does. A graph takes length_ns with all its kernels. period_ns is that of
    requests and phases, which work for on_ns of it, and how long one that thinks does so."""
    pattern: str
    length_ns: int
    blocks: int = 0
    period_ns: int = REQUEST_PERIOD_NS
    on_ns: int = 0
    tighten_ppm: int = 0

    @property
    def kernel(self):
        """Its name, by which the machine knows how long it takes."""
        return f"busy_{self.kernel_ns}"

    @property
    def kernel_ns(self):
        return self.length_ns // GRAPH_NODES if self.pattern == "graph" else self.length_ns

    def arguments(self, seconds):
        values = {"-b": self.blocks, "-o": self.on_ns, "-t": self.tighten_ppm}
        if self.pattern in PERIODIC:
            values["-p"] = self.period_ns
        options = [word for name, value in values.items() if value for word in (name, str(value))]
        return [*options, self.pattern, self.kernel, str(self.length_ns), str(int(seconds * 1000))]


@dataclass(frozen=True)
class Cell:
    share: float
    load: Load

    def __str__(self):
        return f"{self.share:g} % {length_text(self.load.length_ns)} {self.load.pattern}"


def cell_of(text):
    """From SHARE:LENGTH:PATTERN."""
    parts = text.split(":")
    if len(parts) != 3:
        raise argparse.ArgumentTypeError(f'"{text}": SHARE:LENGTH:PATTERN is needed')
    return Cell(share_of(parts[0]), Load(pattern_of(parts[2]), length_of(parts[1])))


def matrix(shares, lengths, patterns):
    return [Cell(share, Load(pattern, length))
            for pattern in patterns for length in lengths for share in shares]


@dataclass(frozen=True)
class Tenant:
    """A program beside others. more: pairs of a variable and its value, for it alone."""
    share: float
    load: Load
    more: tuple = ()

    def __str__(self):
        return f"{self.share:g}{self.load.pattern}"


def tenants_of(text):
    """From SHARE[PATTERN][@LENGTH]:..., such as 50:50 or 70queue:30requests@1ms."""
    tenants = []
    for part in text.split(":"):
        found = re.fullmatch(r"([\d.]+)([a-z]*)(@\w+)?", part)
        pattern = found[2] or "queue" if found else ""
        if not found or pattern != "requests" and pattern not in PATTERNS:
            raise argparse.ArgumentTypeError(
                f'"{part}": a tenant is a share and {", ".join(PATTERNS)} or requests')
        length_ns = length_of(found[3][1:]) if found[3] else DEFAULT_LENGTH_NS
        tenants.append(Tenant(share_of(found[1]), Load(pattern, length_ns)))
    return tuple(tenants)
