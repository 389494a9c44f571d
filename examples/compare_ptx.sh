#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Whether two PTX files say the same. Comments, empty lines and the version of the language, which
# follows the compiler's, do not count.
#
#   compare_ptx.sh COMMITTED FRESH
set -u
fresh=$(mktemp) || exit 1
trap 'rm -f "$fresh"' EXIT

code() {
	grep -Ev '^[[:space:]]*(//|$)|^\.version ' "$1"
}

code "$2" >"$fresh" || { echo "$2: no PTX" >&2; exit 1; }
code "$1" | diff -u - "$fresh" && exit 0
echo "$1 is not what nvcc makes of kernels.cu: copy $2 over it" >&2
exit 1
