#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Builds every configuration of CMakePresets.json and runs the tests that make sense in it.
# docs/testing.md says what the labels mean. Needs nothing but a fresh clone: tests/setup.sh
# is called first.
set -uo pipefail

usage() {
	cat <<'USAGE'
usage: tests/run.sh [--full] [--preset NAME]...

  --full         also the long tests (label "full"), with TESTS_FULL=1
  --preset NAME  only this configuration: release, asan, tsan, clang or debug; repeatable

Exit status 0 if everything was built without a warning, is formatted, and passed.
USAGE
}

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
root=$PWD
jobs=$(nproc)
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

full=no
presets=()
table=()
passed=0
failed=0
skipped=0
broken=0

parse_arguments() {
	while [ $# -gt 0 ]; do
		case $1 in
		--full) full=yes ;;
		--preset) presets+=("${2:?--preset needs a name}") && shift ;;
		-h | --help) usage && exit ;;
		*) usage >&2 && exit 2 ;;
		esac
		shift
	done
	if [ ${#presets[@]} -eq 0 ]; then
		presets=(release asan tsan clang debug)
	fi
}

# The labels that a configuration leaves out. Sanitizers change time and what is linked, so
# nothing that measures the one or inspects the other runs under them; models have one thread, in
# which ThreadSanitizer has nothing to see, and repeat what other tests run under AddressSanitizer;
# the other compilers are there for their warnings and run what is quick.
excluded_labels() {
	case $1 in
	release) echo "" ;;
	asan | tsan) echo "lint bench timing model" ;;
	*) echo "lint bench timing model examples preload" ;;
	esac
	if [ $full = no ]; then
		echo full
	fi
}

# quietly LOG COMMAND...: its output is shown only if it fails.
quietly() {
	local log=$1
	shift
	if ! "$@" >"$log" 2>&1; then
		cat "$log"
		return 1
	fi
}

build() {
	quietly "$logs/configure" cmake --preset "$1" -DCUSLICE_WERROR=ON &&
		quietly "$logs/build" cmake --build --preset "$1" --parallel "$jobs"
}

# count REPORT ATTRIBUTE: an attribute of the test suite in a JUnit report of ctest.
count() {
	sed -n "/<testsuite/,/>/s/^[[:space:]]*$2=\"\([0-9]*\)\".*/\1/p" "$1" | head -n 1
}

add_counts() {
	local report=$1 tests failures skips
	tests=$(count "$report" tests)
	failures=$(count "$report" failures)
	skips=$(($(count "$report" skipped) + $(count "$report" disabled)))
	passed=$((passed + tests - failures - skips))
	failed=$((failed + failures))
	skipped=$((skipped + skips))
	row="$((tests - failures - skips)) passed, $failures failed, $skips skipped"
}

run_preset() {
	local name=$1 start=$SECONDS labels report=$logs/$1.xml row
	echo "== $name: building"
	if ! build "$name"; then
		broken=$((broken + 1))
		table+=("$(printf '%-8s could not be built' "$name")")
		return
	fi
	echo "== $name: testing"
	labels=$(excluded_labels "$name" | xargs | tr ' ' '|')
	# Many tests do little but wait.
	ctest --preset "$name" --parallel $((2 * jobs)) --timeout 300 --no-tests=error \
		${labels:+--label-exclude "^($labels)\$"} --output-junit "$report"
	if [ -s "$report" ]; then
		add_counts "$report"
	else
		broken=$((broken + 1))
		row="its tests could not be run"
	fi
	table+=("$(printf '%-8s %-42s %4d s' "$name" "$row" $((SECONDS - start)))")
}

find_clang_format() {
	local program
	for program in clang-format-14 clang-format; do
		if "$program" --version 2>/dev/null | grep -q 'version 14\.'; then
			echo "$program"
			return
		fi
	done
}

# Other versions of clang-format lay the same code out differently, so only 14 judges.
check_format() {
	local program wrong
	program=$(find_clang_format)
	if [ -z "$program" ]; then
		table+=("format   not checked: clang-format 14 is not on this machine")
		return
	fi
	wrong=$(find include src tests examples -name '*.[ch]' -print0 |
		xargs -0 "$program" -n -Werror 2>&1 | sed -n 's/:[0-9:]* error:.*//p' | sort -u)
	if [ -z "$wrong" ]; then
		table+=("format   as .clang-format wants it")
		return
	fi
	echo "== format: differs, run $program -i on"
	echo "$wrong"
	broken=$((broken + 1))
	table+=("format   differs in $(echo "$wrong" | wc -l) files")
}

parse_arguments "$@"
tests/setup.sh || exit 1
PATH=$root/.deps/bin:$PATH
if command -v ninja >/dev/null; then
	export CMAKE_GENERATOR=Ninja
fi
# Not CUSLICE_...: the library refuses what it does not know under its own prefix.
if [ $full = yes ]; then
	export TESTS_FULL=1
fi
# A preloaded library always comes before the sanitizer's own.
export ASAN_OPTIONS=verify_asan_link_order=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}

check_format
for preset in "${presets[@]}"; do
	run_preset "$preset"
done

echo
echo "== summary"
printf '%s\n' "${table[@]}"
echo "total: $passed passed, $failed failed, $skipped skipped, $broken other problems, $SECONDS s"
[ $((failed + broken)) -eq 0 ] && [ "$passed" -gt 0 ]
