#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""elf_test.py PROCESSOR FILE...: programs and libraries as cmake/harden.cmake wants them."""
import re
import shutil
import subprocess
import sys

SKIPPED = 77


def readelf(option, path):
    return subprocess.run(["readelf", "-W", option, path], capture_output=True, text=True, check=True,
                          env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}).stdout


def imports(path):
    """Names that it takes from other libraries."""
    return {match.group(1) for match in re.finditer(r"\bUND (\w+)", readelf("--dyn-syms", path))}


def problems(path, processor):
    headers, dynamic = readelf("-l", path), readelf("-d", path)
    if re.search(r"^\s+GNU_RELRO\s", headers, re.M) is None:
        yield "no RELRO"
    if "BIND_NOW" not in dynamic and not re.search(r"FLAGS_1.*\bNOW\b", dynamic):
        yield "functions are looked up when they are first called (no BIND_NOW)"
    stack = re.search(r"^\s+GNU_STACK\s.*", headers, re.M)
    if stack is None or re.search(r"\sRWE\s", stack.group(0)):
        yield "an executable stack"
    for segment in re.findall(r"^\s+LOAD\s.*", headers, re.M):
        if re.search(r"\sRWE\s", segment):
            yield "memory that can be written and executed"
    if "Type: DYN" not in readelf("-h", path) and "DYN (" not in readelf("-h", path):
        yield "a fixed address (no PIE)"
    if re.search(r"\((RPATH|RUNPATH)\)", dynamic) and "build" not in path:
        yield "a search path for libraries"
    names = imports(path)
    if "__stack_chk_fail" not in names:
        yield "no stack protector"
    if not any(name.endswith("_chk") and name != "__stack_chk_fail" for name in names):
        yield "no checked string functions (FORTIFY)"
    if processor in ("x86_64", "AMD64") and "SHSTK" not in readelf("-n", path):
        yield "no mark that it runs with a shadow stack"


def main():
    processor, *paths = sys.argv[1:]
    if shutil.which("readelf") is None:
        print("skipped: readelf is not installed")
        return SKIPPED
    found = [f"{path}: {what}" for path in paths for what in problems(path, processor)]
    print("\n".join(found) if found else f"{len(paths)} files are in order")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
