#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Checks cuslice on this machine's GPU and writes a report: README.md beside this file. All the
# work is in report.py; python3 is the one that has PyTorch, where several are installed.
here=$(dirname "$0")
if ! command -v python3 >/dev/null; then
	echo "tests/gpu/run.sh: python3 is needed" >&2
	exit 2
fi
exec python3 -B "$here/report.py" "$@"
