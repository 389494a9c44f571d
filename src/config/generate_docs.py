#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Writes what config.def and not_counted.def say into the documents that show it, between the marks
# `generated: NAME` and `end of NAME`.
#
#   generate_docs.py TREE           rewrites them
#   generate_docs.py --check TREE   changes nothing; exit status 1 if one is not current
import pathlib
import re
import sys
import textwrap

STRING = r'"(?:[^"\\]|\\.)*"'
OPTION = re.compile(rf"^OPTION\((\w+),\s*\w+,\s*(\w+),\s*({STRING}),\s*({STRING})\)$", re.MULTILINE)
NOT_COUNTED = re.compile(rf"^NOT_COUNTED\(((?:{STRING}\s*)+)\)$", re.MULTILINE)
MARKED = re.compile(r"(^[^\n]*generated: ([\w ]+?)(?: -->)?\n)(.*?)(^[^\n]*end of \2)",
                    re.MULTILINE | re.DOTALL)
PLACES = {"DEVICE": "`[slice]`, `[device …]`", "PROCESS": "`[slice]`", "VARIABLE": "–"}


def text_of(literals):
    return "".join(part[1:-1] for part in re.findall(STRING, literals))


def options(tree):
    """(variable, key, scope, default, sentence) of each row."""
    text = (tree / "src/config/config.def").read_text(encoding="utf-8")
    rows = OPTION.findall(text)
    if len(rows) != len(re.findall(r"^OPTION\(", text, re.MULTILINE)):
        sys.exit("config.def has a row that is not understood")
    return [(f"CUSLICE_{key}", key.lower(), scope, text_of(default), text_of(sentence))
            for key, scope, default, sentence in rows]


def holes(tree):
    text = (tree / "src/cli/not_counted.def").read_text(encoding="utf-8")
    rows = NOT_COUNTED.findall(text)
    if len(rows) != len(re.findall(r"^NOT_COUNTED\(", text, re.MULTILINE)):
        sys.exit("not_counted.def has a row that is not understood")
    return [text_of(row) for row in rows]


def markdown_settings(tree):
    yield "| variable | in files | where there | default |"
    yield "|---|---|---|---|"
    for variable, key, scope, default, _ in options(tree):
        name = f"`{variable}`" + (f", `{variable}_<device>`" if scope == "DEVICE" else "")
        file_key = "–" if scope == "VARIABLE" else f"`{key}`"
        yield f"| {name} | {file_key} | {PLACES[scope]} | {default} |"
    yield ""
    for variable, _, _, _, sentence in options(tree):
        yield from textwrap.wrap(f"* `{variable}`: {sentence}", 118, subsequent_indent="  ")


def markdown_holes(tree):
    for hole in holes(tree):
        yield from textwrap.wrap(f"* {hole}", 118, subsequent_indent="  ")


def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti")
    return "\\&" + text if text.startswith((".", "'")) else text


def man_variables(tree):
    for variable, _, scope, default, sentence in options(tree):
        yield ".TP"
        yield f".B {variable}" if scope != "DEVICE" else \
            f".BR {variable} \", \" {variable}_\\fIDEVICE\\fP"
        yield roff(sentence)
        yield roff(f"Default: {default}.")


def man_keys(tree):
    for _, key, scope, default, sentence in options(tree):
        if scope == "VARIABLE":
            continue
        yield ".TP"
        yield f".B {key}"
        yield roff(sentence)
        yield roff(f"Default: {default}.") + ("" if scope == "DEVICE" else " In [slice] alone.")


def man_holes(tree):
    for hole in holes(tree):
        yield ".IP \\(bu 2"
        yield roff(hole)


PARTS = {
    "docs/configuration.md": {"settings": markdown_settings, "not counted": markdown_holes},
    "docs/man/cuslice.1": {"variables": man_variables, "not counted": man_holes},
    "docs/man/cuslice.ini.5": {"keys": man_keys},
}


def current(tree, name):
    """The document as it should be, and as it is."""
    text = (tree / name).read_text(encoding="utf-8")
    parts = PARTS[name]
    if sorted(found[1] for found in MARKED.findall(text)) != sorted(parts):
        sys.exit(f"{name} does not have the marks of {', '.join(parts)}")

    def fill(match):
        body = "\n".join(parts[match[2]](tree))
        return f"{match[1]}{body}\n{match[4]}"
    return MARKED.sub(fill, text), text


def main(arguments):
    is_check = arguments[:1] == ["--check"]
    tree = pathlib.Path(arguments[-1])
    stale = 0
    for name in PARTS:
        wanted, found = current(tree, name)
        if wanted == found:
            continue
        stale += 1
        if is_check:
            print(f"{name} is not current; run src/config/generate_docs.py .")
        else:
            (tree / name).write_text(wanted, encoding="utf-8")
    return 1 if is_check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
