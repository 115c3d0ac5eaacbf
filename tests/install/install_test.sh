#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# install_test.sh HOW SOURCE BUILD: an outside project finds vinic by find_package, pkg_config or
# add_subdirectory, builds with it and runs.  For the first two vinic is installed, and the installed
# tree is then moved: it must work wherever it lies.
set -euo pipefail
how=$1 source=$2 build=$3

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export VINIC_SHM_DIR=$work/shm
mkdir "$VINIC_SHM_DIR"

fail() {
    echo "install_test: $*" >&2
    exit 1
}

if [[ $how != add_subdirectory ]]; then
    cmake --install "$build" --prefix "$work/prefix" > "$work/install.log" || fail "$(cat "$work/install.log")"
    mv "$work/prefix" "$work/moved"
    prefix=$work/moved
    for file in include/vinic/vinic.hpp include/vinic/words.hpp include/vipl.h bin/vinic share/doc/vinic/LICENSE \
        share/doc/vinic/docs/memory.md share/doc/vinic/examples/vipl/ping_pong.c share/man/man7/vipl.7; do
        [[ -e $prefix/$file ]] || fail "$file was not installed"
    done
    "$prefix/bin/vinic" --version || fail "the installed command line does not run"
    library=$(find "$prefix" -name libvinic.so)
    # What the public header does not name, a program must not be able to depend on.
    if nm -DC --defined-only "$library" | grep -E ' vinic::(os|abi|rules|device)::'; then
        fail "the shared library shows its inside"
    fi
    symbols=$(nm -D --defined-only "$(dirname "$library")/libvipl.so.1")
    if grep -E ' [A-Z] ' <<< "$symbols" | grep -vE ' (T Vip|A VIPL_1.0)'; then
        fail "libvipl shows more than VIPL's functions"
    fi
    while read -r function; do
        [[ $symbols == *" $function@"* ]] || fail "libvipl lacks $function"
        [[ -e $prefix/share/man/man3/$function.3 ]] || fail "$function has no manual page"
    done < <(grep -A3 '^VIPL_API' "$prefix/include/vipl.h" | grep -oE '\bVip[A-Za-z]+\(' | tr -d '(')
    # A known client defines functions of these names.
    if nm -D "$(dirname "$library")/libvipl.so.1" | grep -E ' U (sem_|sigaction|signal)'; then
        fail "libvipl calls what a program may define itself"
    fi
    PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name vinic.pc)")
    export PKG_CONFIG_PATH
    CMAKE_PREFIX_PATH=$prefix
    export CMAKE_PREFIX_PATH
fi

cmake -S "$source/tests/install/consumer" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Debug \
    -DCMAKE_CXX_FLAGS_DEBUG=-O0 -DHOW="$how" -DVINIC_SOURCE="$source"
cmake --build "$work/build"
ctest --test-dir "$work/build" --output-on-failure --no-tests=error --timeout 60

[[ -z $(ls "$VINIC_SHM_DIR") ]] || fail "something was left in the directory of the device"
