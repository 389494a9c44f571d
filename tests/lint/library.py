#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# What may be seen of libcuslice.so from outside. It is loaded into programs that never heard of
# it, on machines it was not built on: each check here stands for a way in which a preload
# library breaks such a program.
#
#   library.py CHECK LIBRARY [TABLE...]     CHECK: a name of CHECKS below; exit status 1 and one
#                                           line for each offence; TABLE: hooks.def and its kin
#   library.py glibc LIBRARY                the newest GLIBC versions that it asks for (a report)
import re
import subprocess
import sys

NEEDED = {"libc.so.6", "libdl.so.2", "libpthread.so.0"}

# Weak where needed at all: musl has neither, and a strong import kills the process there.
WEAK_ONLY = {"__register_atfork", "dlvsym", "dlsym"}

# A preload that calls one of these takes a decision that belongs to the program.
NEVER_CALLED = {
    "exit", "_exit", "_Exit", "quick_exit", "abort", "atexit", "__cxa_atexit",
    "signal", "sigaction", "umask", "setenv", "putenv", "unsetenv", "chdir",
    "printf", "puts", "putchar", "vprintf",
}


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Symbol:
    """A row of `readelf --dyn-syms`: name, bind, is_defined, version (None where there is none)."""

    def __init__(self, line):
        fields = line.split()
        self.bind, self.is_defined = fields[4], fields[6] != "UND"
        self.name, _, version = fields[7].partition("@")
        self.version = version.lstrip("@") or None


def symbols(library):
    text = run("readelf", "--dyn-syms", "--wide", library)
    rows = [line for line in text.splitlines() if re.match(r"\s*\d+:", line)]
    return [Symbol(row) for row in rows if len(row.split()) >= 8]


def imports(library):
    return [symbol for symbol in symbols(library) if not symbol.is_defined]


def check_exports(library, *tables):
    """Exactly the rows of the tables, dlsym, dlvsym and cuslice_*: one more shadows a program's
    own function, one less is a hook that linked programs pass by."""
    rows = set()
    for table in tables:
        with open(table, encoding="utf-8") as file:
            rows.update(re.findall(r"^(?:NVML_)?HOOK\((\w+)[,)]", file.read(), re.MULTILINE))
    exported = {symbol.name for symbol in symbols(library) if symbol.is_defined}
    wanted = rows | {"dlsym", "dlvsym"}
    for name in sorted(wanted - exported):
        yield f"{name} is not exported"
    for name in sorted(exported - wanted):
        if not name.startswith("cuslice_"):
            yield f"{name} is exported"


def check_needed(library):
    """The C library alone, so that it loads wherever the program does; never libcuda."""
    text = run("readelf", "--dynamic", "--wide", library)
    for name in re.findall(r"\(NEEDED\).*\[(.*)\]", text):
        if name not in NEEDED and not name.startswith("ld-linux"):
            yield f"{name} is needed"


def check_constructors(library):
    """Nothing runs in a process that never uses CUDA: .init_array and .fini_array hold one entry
    each, the compiler's frame_dummy and __do_global_dtors_aux."""
    text = run("readelf", "--sections", "--wide", library)
    for name, size in re.findall(r"\s(\.\w+)\s+\w+\s+[0-9a-f]+ [0-9a-f]+ ([0-9a-f]+)", text):
        entries = int(size, 16) // 8
        if name in (".init_array", ".fini_array") and entries > 1:
            yield f"{name} has {entries} entries"
        if name in (".ctors", ".dtors", ".preinit_array"):
            yield f"{name} is there"


def check_imports(library):
    """Nothing that other C libraries lack, and nothing that acts on the whole process."""
    for symbol in imports(library):
        if re.fullmatch(r"__\w+_chk", symbol.name):
            yield f"{symbol.name} is imported (_FORTIFY_SOURCE)"
        if symbol.name in WEAK_ONLY and symbol.bind != "WEAK":
            yield f"{symbol.name} is a strong import"
        if symbol.name in NEVER_CALLED:
            yield f"{symbol.name} is imported"


def report_glibc(library):
    versions = {}
    for symbol in imports(library):
        match = re.match(r"GLIBC_(\d+(?:\.\d+)*)", symbol.version or "")
        if match:
            key = tuple(int(part) for part in match.group(1).split("."))
            versions.setdefault(key, []).append(symbol.name)
    for key in sorted(versions, reverse=True):
        print("GLIBC_" + ".".join(map(str, key)) + ": " + " ".join(sorted(versions[key])))


CHECKS = {
    "exports": check_exports,
    "needed": check_needed,
    "constructors": check_constructors,
    "imports": check_imports,
}


def main(arguments):
    check, library, *rest = arguments
    if check == "glibc":
        report_glibc(library)
        return 0
    offences = list(CHECKS[check](library, *rest))
    for offence in offences:
        print(f"{library}: {offence}")
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
