# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# What the scripts of all frameworks share. A script prints `key=value` lines as gpu-client does, so
# that one judge serves all; `result_*` are digests that have to equal those of a bare run.
import hashlib
import sys

MIB = 1 << 20
CHUNK = 64 * MIB
EXCESS = 64 * MIB


def say(key, value):
    print(f"{key}={value}", flush=True)


def digest_of(data):
    """data: bytes."""
    return hashlib.sha256(data).hexdigest()[:16]


def say_result(name, data):
    say(f"result_{name}", digest_of(data))


def quota_of_arguments():
    return int(sys.argv[1]) if len(sys.argv) > 1 else None


def name_of_refusal(allocate, size, out_of_memory):
    """What an allocation ends with: "granted", or the name of the error."""
    try:
        block = allocate(size)
    except out_of_memory as error:
        return type(error).__name__
    del block
    return "granted"


def fill(allocate, quota, out_of_memory):
    """Takes chunks until there is no more, at most up to twice the quota; gives all back."""
    chunks, refused = [], "granted"
    while len(chunks) * CHUNK < 2 * quota:
        try:
            chunks.append(allocate(CHUNK))
        except out_of_memory as error:
            refused = type(error).__name__
            break
    say("granted_bytes", len(chunks) * CHUNK)
    say("refused", refused)
