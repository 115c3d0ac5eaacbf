#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs Doxygen on a configured Doxyfile and judges what it says.

Every complaint is an error, except that a name which explains itself (docs/self_explaining.txt)
needs no description.
"""
import argparse
import os
import re
import subprocess
import sys

UNDOCUMENTED = re.compile(r"Member (.*) \(\w+\) of \w+ (\S+) is not documented")


def patterns(path):
    with open(path, encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in file]
    return [re.compile(line) for line in lines if line and not line.startswith("#")]


def explains_itself(complaint, allowed):
    found = UNDOCUMENTED.search(complaint)
    return bool(found) and any(pattern.match(f"{found.group(2)}::{found.group(1)}") for pattern in allowed)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--doxygen", default="doxygen")
    parser.add_argument("--allowed", required=True, help="docs/self_explaining.txt")
    parser.add_argument("doxyfile")
    options = parser.parse_args()
    done = subprocess.run([options.doxygen, os.path.basename(options.doxyfile)], capture_output=True, text=True,
                          cwd=os.path.dirname(os.path.abspath(options.doxyfile)), check=False)
    allowed = patterns(options.allowed)
    complaints = [line for line in (done.stdout + done.stderr).split("\n")
                  if line.strip() and not explains_itself(line, allowed)]
    print("\n".join(complaints + [f"reference: {len(complaints)} complaints"]))
    return 1 if complaints or done.returncode != 0 else 0


if __name__ == "__main__":
    sys.exit(main())
