#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# Makes a Debian 12/13 or Ubuntu 22.04/24.04 ready to build cuslice and to run its tests:
# distribution packages, and into .deps/ what the distribution does not have (the headers of
# CUDA 13.0 where there is no toolkit, a CMake where the distribution's is too old). Does only
# what is missing, so that a second run is quick and needs no network.
set -euo pipefail

usage() {
	cat <<'USAGE'
usage: tests/setup.sh [--build]

Installs what building cuslice and running its tests needs; with --build only what building
needs. Packages are installed as root or by "sudo -n"; without either the one command to run
is printed and the exit status is 1. nvcc is never needed: where it is missing, the examples
are built from the PTX that is in the tree.
USAGE
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
deps=$root/.deps

# Wheels on PyPI, pinned. NVIDIA's wheel of the CUDA runtime carries cuda.h; only its headers are
# taken, and those are the same for every architecture.
cuda_wheel=nvidia-cuda-runtime==13.0.96
cuda_sha256=7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
cuda_least=13000
cmake_wheel=cmake==3.31.6
cmake_least=3.25
declare -A cmake_sha256=(
	[x86_64]=1c8b05df0602365da91ee6a3336fe57525b137706c4ab5675498f662ae1dbcec
	[aarch64]=42d9883b8958da285d53d5f69d40d9650c2d1bcf922d82b3ebdceb2b3a7d4521
)

build_packages=(build-essential cmake ninja-build pkg-config libinih-dev python3)
test_packages=(libcmocka-dev valgrind clang clang-format libclang-rt-dev musl-tools binutils)

say() {
	echo "setup: $*"
}

fail() {
	echo "setup: $*" >&2
	exit 1
}

# Whether a package's purpose is served, by the package or by anything else that provides it.
have() {
	case $1 in
	build-essential) echo '#include <stdlib.h>' | gcc -xc -fsyntax-only - 2>/dev/null ;;
	cmake) cmake_is_new_enough cmake || cmake_is_new_enough "$deps/bin/cmake" ;;
	ninja-build) command -v ninja >/dev/null ;;
	pkg-config) command -v pkg-config >/dev/null ;;
	libinih-dev) pkg-config --exists inih 2>/dev/null ;;
	libcmocka-dev) pkg-config --exists cmocka 2>/dev/null ;;
	libclang-rt-dev) have_clang_runtime ;;
	musl-tools) command -v musl-gcc >/dev/null ;;
	binutils) command -v readelf >/dev/null ;;
	python3-pip) python3 -m pip --version >/dev/null 2>&1 ;;
	*) command -v "$1" >/dev/null ;;
	esac
}

cmake_is_new_enough() {
	local version
	version=$("$1" --version 2>/dev/null | sed -n 's/^cmake version \([0-9.]*\).*/\1/p')
	[ -n "$version" ] &&
		[ "$(printf '%s\n' "$cmake_least" "$version" | sort -V | head -n 1)" = "$cmake_least" ]
}

# By whichever package it came: Debian has libclang-rt-dev, elsewhere clang brings it.
have_clang_runtime() {
	compgen -G "$(clang -print-resource-dir 2>/dev/null)/lib/*/libclang_rt.asan*.a" >/dev/null
}

# The distributions that this script knows and whose CMake is older than cmake_least.
distribution_cmake_is_too_old() {
	# shellcheck source=/dev/null
	case $(. /etc/os-release && echo "${UBUNTU_CODENAME:-${VERSION_CODENAME:-}}") in
	jammy | bullseye) return 0 ;;
	*) return 1 ;;
	esac
}

cuda_version_of() {
	sed -n 's/^#define CUDA_VERSION \([0-9]*\).*/\1/p' "$1/cuda.h" 2>/dev/null
}

have_cuda_headers() {
	local folder version
	for folder in "${CUDA_PATH:+$CUDA_PATH/include}" "${CUDA_HOME:+$CUDA_HOME/include}" \
		/usr/local/cuda/include "$deps/cuda/include"; do
		version=$(cuda_version_of "$folder") || continue
		if [ "${version:-0}" -ge "$cuda_least" ]; then
			return 0
		fi
	done
	return 1
}

need_cmake_wheel() {
	! have cmake && distribution_cmake_is_too_old
}

missing_packages() {
	local package
	for package in "$@"; do
		if [ "$package" = cmake ] && need_cmake_wheel; then
			continue
		fi
		have "$package" || echo "$package"
	done
	if { need_cmake_wheel || ! have_cuda_headers; } && ! have python3-pip; then
		echo python3-pip
	fi
}

# libclang-rt-dev exists on Debian; elsewhere clang brings the runtime.
installable() {
	local package
	for package in "$@"; do
		if [ "$package" != libclang-rt-dev ] ||
			apt-cache show libclang-rt-dev >/dev/null 2>&1; then
			echo "$package"
		fi
	done
}

install_packages() {
	local as_root=() packages
	if [ "$(id -u)" -ne 0 ]; then
		as_root=(sudo -n)
	fi
	say "installing $*"
	"${as_root[@]}" apt-get update -qq || say "the package lists could not be refreshed"
	mapfile -t packages < <(installable "$@")
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}

may_install() {
	[ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null
}

print_command() {
	local become_root="su -c"
	if command -v sudo >/dev/null; then
		become_root="sudo sh -c"
	fi
	echo "$become_root 'apt-get update && apt-get install -y --no-install-recommends $*'"
}

ensure_packages() {
	local missing
	mapfile -t missing < <(missing_packages "$@")
	# On a distribution without libclang-rt-dev nothing can be done about it, and nothing needs
	# it but sanitizers under clang.
	if [ "${missing[*]}" = libclang-rt-dev ] &&
		! apt-cache show libclang-rt-dev >/dev/null 2>&1; then
		return
	fi
	if [ ${#missing[@]} -eq 0 ]; then
		return
	fi
	command -v apt-get >/dev/null ||
		fail "this is no Debian or Ubuntu; install what these packages hold: ${missing[*]}"
	if ! may_install; then
		print_command "${missing[@]}"
		exit 1
	fi
	install_packages "${missing[@]}"
}

# fetch_wheel REQUIREMENT PLATFORM SHA256 FOLDER: downloads one wheel and unpacks it there.
fetch_wheel() {
	local folder=$4
	mkdir -p "$folder"
	echo "$1 --hash=sha256:$3" >"$folder/requirement.txt"
	say "fetching $1 from PyPI"
	python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
		--platform "$2" --require-hashes -r "$folder/requirement.txt" -d "$folder"
	python3 -m zipfile -e "$folder"/*.whl "$folder/unpacked"
}

ensure_cuda_headers() {
	local folder=$deps/fetch-cuda
	if have_cuda_headers; then
		return
	fi
	rm -rf "$folder" "$deps/cuda"
	fetch_wheel "$cuda_wheel" manylinux2014_x86_64 "$cuda_sha256" "$folder"
	mkdir -p "$deps/cuda"
	mv "$folder"/unpacked/nvidia/cu13/include "$deps/cuda/include"
	rm -rf "$folder"
	have_cuda_headers || fail "the wheel $cuda_wheel holds no usable cuda.h"
}

ensure_cmake() {
	local arch folder=$deps/fetch-cmake
	if ! need_cmake_wheel; then
		return
	fi
	arch=$(uname -m)
	rm -rf "$folder" "$deps/cmake"
	fetch_wheel "$cmake_wheel" "manylinux2014_$arch" "${cmake_sha256[$arch]}" "$folder"
	mv "$folder/unpacked/cmake/data" "$deps/cmake"
	rm -rf "$folder"
	chmod +x "$deps"/cmake/bin/*
	mkdir -p "$deps/bin"
	ln -sf ../cmake/bin/cmake ../cmake/bin/ctest "$deps/bin/"
	say "this distribution's CMake is too old; $deps/bin/cmake is used"
}

packages=("${build_packages[@]}" "${test_packages[@]}")
case ${1:-} in
--build) packages=("${build_packages[@]}") ;;
-h | --help) usage && exit ;;
'') ;;
*) usage >&2 && exit 2 ;;
esac

ensure_packages "${packages[@]}"
ensure_cmake
ensure_cuda_headers
say "ready"
