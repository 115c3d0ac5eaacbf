#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# header_test.sh SOURCE SHARED STATIC: what the public header says to compilers that cannot have it, and the linker to
# programs whose strings or vectors are others than the library's.
set -uo pipefail
source=$1 shared=$2 static=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0
fail() {
    echo "header_test: $*" >&2
    failures=$((failures + 1))
}

cat > "$work/program.cc" << 'END'
#include <vinic/vinic.hpp>
#include <cstdio>
int main() {
    auto nic = vinic::nic::open("no such device");
    std::puts(nic ? "opened" : nic.error().message().c_str());
}
END
# A file of a program that never opens a nic: it is handed objects by others that were compiled otherwise.
cat > "$work/part.cc" << 'END'
#include <vinic/vinic.hpp>
std::vector<vinic::address> part(vinic::nic& nic) { return nic.names().value(); }
int main() { return 0; }
END

compile=(-c "$work/program.cc" "-I$source/include" -o "$work/program.o")

# $1: what must be refused in one sentence; the rest is the compiler with its options.
refused() {
    local what=$1
    shift
    if ! command -v "$1" > /dev/null; then
        echo "skipped: $what, for there is no $1 here"
        return
    fi
    "$@" "${compile[@]}" > "$work/said" 2>&1 && fail "$what compiles"
    head -3 "$work/said" | grep -q 'error:.*vinic needs C++23.*-std=c++23 and g++ 12.*clang++ 19' ||
        fail "$what does not begin with the reason: $(head -3 "$work/said")"
    # The reason, and the header that ends the compiler.
    [[ $(grep -c 'error:' "$work/said") == 2 ]] || fail "$what says more: $(grep 'error:' "$work/said")"
}

for compiler in g++ clang++-19; do
    for standard in c++11 c++14 c++17 c++20; do
        refused "$compiler in $standard" "$compiler" "-std=$standard"
    done
    if command -v "$compiler" > /dev/null; then
        "$compiler" -std=c++23 -Wall -Wextra -Wpedantic -Wundef -Werror "${compile[@]}" ||
            fail "$compiler in c++23 is refused"
    fi
done
for standard in c++17 c++20 c++2b; do
    refused "clang++-14 in $standard" clang++-14 "-std=$standard"
done
# What clang before 19 tells the standard library.
refused "a clang++ 19 that says it is an older one" clang++-19 -std=c++23 -w -D__cpp_concepts=201907L

# What is compiled does not depend on the library that it is linked with.
options=() what=''
compiles() {
    g++ -std=c++23 "${options[@]}" "$@" -c "$work/$file.cc" "-I$source/include" -o "$work/object.o" \
        > "$work/said" 2>&1 || fail "$what does not compile: $(tail -3 "$work/said")"
}
links() { g++ -std=c++23 "${options[@]}" "$work/object.o" "$1" -pthread -o "$work/linked" > "$work/said" 2>&1; }

for file in program part; do
    for optimised in -O0 "-O2 -flto -Wl,--gc-sections -ffunction-sections"; do
        read -ra options <<< "$optimised"
        what="$file $optimised"
        compiles
        for library in "$shared" "$static"; do
            links "$library" || fail "$what does not link: $(tail -3 "$work/said")"
        done
        # An optimiser may see that nobody calls part(): then nothing is wrong with the program.
        [[ $file == part && $optimised == *gc-sections* ]] && continue
        for other in -D_GLIBCXX_DEBUG:with_GLIBCXX_DEBUG -D_GLIBCXX_USE_CXX11_ABI=0:without_CXX11_ABI; do
            what="$file with ${other%%:*} $optimised"
            compiles "${other%%:*}"
            for library in "$shared" "$static"; do
                links "$library" && fail "$what links with ${library##*/}"
                grep -q "undefined reference to.*compiled_${other##*:}" "$work/said" ||
                    fail "the linker does not say why: $(tail -3 "$work/said")"
            done
        done
    done
done
exit $((failures != 0))
