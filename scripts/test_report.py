#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sums up what ctest reported: test_report.py STAGE REPORT LOG [REPORT_OF_THE_SECOND_RUN]

Prints four figures: passed, failed, skipped, unsteady. To stderr goes what the tests that did not pass at once
had to say.

A test is unsteady if it failed among the others and passed when it was run again alone: its verdict depended on
when the machine ran what. That is told and counted, and is no failure. A crash, a hang, what a sanitizer says and
what a seed has found are never forgiven: they are there, however seldom.
"""
import re
import sys
import xml.etree.ElementTree

FINDS = "Sanitizer|ERROR: libFuzzer|[Ss]eed|SEED"
LINES = 60  # of what a test printed last: enough for one assertion and one stack


def outcome(case):
    """passed, failed or skipped.  What ctest could not start counts as not run there, and as failed here."""
    if case.get("status") in ("run", "disabled"):
        return "passed" if case.get("status") == "run" else "skipped"
    skipped = case.find("skipped")
    meant = skipped is not None and skipped.get("message", "").startswith("SKIP_")
    return "skipped" if meant else "failed"


def output(case):
    return case.findtext("system-out") or ""


def cases(path):
    """The tests of a report by name; none if there is no report."""
    try:
        return {case.get("name"): case for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase")}
    except (OSError, xml.etree.ElementTree.ParseError):
        return {}


def plain_failures(log):
    """The tests that ended by themselves and said no: the list of ctest has other words for crashes and hangs."""
    return set(re.findall(r"^\s+\d+ - (.*) \(Failed\)", log, re.MULTILINE))


def judge(first, again, log):
    """(name, outcome, what it printed) of each test, where `again` holds those that ran a second time."""
    forgivable = plain_failures(log)
    for name, case in first.items():
        verdict, said = outcome(case), output(case)
        passed_again = name in again and outcome(again[name]) == "passed"
        if verdict == "failed" and passed_again and name in forgivable and not re.search(FINDS, said):
            verdict = "unsteady"
        yield name, verdict, said


def main(stage, first, log, again=""):
    counts = dict.fromkeys(("passed", "failed", "skipped", "unsteady"), 0)
    with open(log, encoding="utf-8", errors="replace") as file:
        judged = list(judge(cases(first), cases(again), file.read()))
    for name, verdict, said in judged:
        counts[verdict] += 1
        if verdict in ("failed", "unsteady"):
            print(f"\n{verdict}: {name} ({stage})", *said.rstrip().splitlines()[-LINES:], sep="\n    ", file=sys.stderr)
    print(*counts.values())


if __name__ == "__main__":
    main(*sys.argv[1:])
