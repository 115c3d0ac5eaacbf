#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tells where the time of ./check went: slowest.py SINCE STAGE... (SINCE in seconds of the clock)

The ten slowest tests of all stages, from the reports of ctest in build/log, and the ten files that took longest to
compile, from the logs of ninja in build/STAGE. What is older than SINCE is another run's. The times are those of a
clock on the wall, while other tests ran and other files were compiled.
"""
import os
import re
import sys

sys.dont_write_bytecode = True
import test_report  # noqa: E402

COUNT = 10
COMPILED = re.compile(r"(?:(?P<folder>.*)/)?CMakeFiles/(?P<target>[^/]+)\.dir/(?P<file>.+)\.(?:o|gch|pch)")


def tests(stage, report):
    """(seconds, stage, name) of each test of a report."""
    for name, case in test_report.cases(report).items():
        yield float(case.get("time", 0)), stage, name


def source(output):
    """What an object or a precompiled header is made of, and for which target; None for what is linked."""
    found = COMPILED.fullmatch(output)
    if found is None:
        return None
    path = os.path.normpath(os.path.join(found["folder"] or "", found["file"].replace("__/", "../")))
    return f"{path} ({found['target']})"


def files(stage, lines, since):
    """(seconds, stage, file) of each file that was compiled since then: of what was compiled twice, the last time."""
    compiled = {}
    for line in lines:
        fields = line.rstrip("\n").split("\t")
        if len(fields) == 5 and (name := source(fields[3])) and int(fields[2]) >= since * 1_000_000_000:
            compiled[name] = (int(fields[1]) - int(fields[0])) / 1000
    return [(seconds, stage, name) for name, seconds in compiled.items()]


def table(heading, rows):
    """Lines with the slowest; none if there is nothing."""
    if not rows:
        return []
    return ["", heading, *(f"{seconds:8.1f} s  {stage:<8}  {name}"
                           for seconds, stage, name in sorted(rows, reverse=True)[:COUNT])]


def main(since, *stages):
    ran, compiled = [], []
    for stage in stages:
        report, log = f"build/log/{stage}.xml", f"build/{stage}/.ninja_log"
        if os.path.exists(report) and os.path.getmtime(report) >= int(since):
            ran += tests(stage, report)
        if os.path.exists(log):
            with open(log, encoding="utf-8", errors="replace") as file:
                compiled += files(stage, file, int(since))
    for line in table("slowest tests", ran) + table("slowest to compile", compiled):
        print(line)


if __name__ == "__main__":
    main(*sys.argv[1:])
