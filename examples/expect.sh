#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Runs a command and looks at what it prints.
#
#   expect.sh [--status N] [--below NUMBER] [--above NUMBER] PATTERN... -- COMMAND ARG...
#
# Exit status 0 if the command ends with the status (0) and each pattern (of grep -E) matches a line
# of its output; with --below and --above, also if the last line is rate=R and R lies between them.
set -u
status=0 below='' above=''
patterns=$(mktemp) || exit 1
output=$(mktemp) || exit 1
trap 'rm -f "$patterns" "$output"' EXIT

while [ $# -gt 0 ] && [ "$1" != -- ]; do
	case $1 in
	--status) status=$2 && shift ;;
	--below) below=$2 && shift ;;
	--above) above=$2 && shift ;;
	*) printf '%s\n' "$1" >>"$patterns" ;;
	esac
	shift
done
[ $# -gt 1 ] || { echo "expect.sh: no command" >&2; exit 1; }
shift

"$@" >"$output" 2>&1
got=$?
cat "$output"
failed=0
[ "$got" -eq "$status" ] || { echo "expect.sh: status $got, not $status"; failed=1; }
while IFS= read -r pattern; do
	grep -Eq -e "$pattern" "$output" || { echo "expect.sh: no line matches $pattern"; failed=1; }
done <"$patterns"
if [ -n "$below$above" ]; then
	tail -n 1 "$output" | awk -F= -v below="${below:-1e99}" -v above="${above:-0}" \
		'END { exit !($1 == "rate" && $2 > above + 0 && $2 < below + 0) }' ||
		{ echo "expect.sh: the last line is no rate between $above and $below"; failed=1; }
fi
exit $failed
