#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Runs COMMAND... where long tests are wanted (tests/run.sh --full sets TESTS_FULL); otherwise says
# so and exits with 77, which ctest counts as skipped.
if [ -z "${TESTS_FULL:-}" ]; then
	echo "skipped: takes minutes; tests/run.sh --full runs it, or TESTS_FULL=1"
	exit 77
fi
exec "$@"
