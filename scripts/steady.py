#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs tests again and again on a machine that is made busy, and tells which are unsteady.

    steady.py [--rounds N] [--build DIRECTORY] [--seed N] [-- CTEST_OPTION...]

Each round runs all tests once, in another order, four at once on whatever cores there are, while `torture steal`
takes the cores away at random moments (it needs a real-time priority, so root; without it four at once must do).
A test that fails in some rounds is unsteady: it waits for a time where an event would do, or has found something
that is there seldom. What it printed stands in build/log/steady-ROUND.log.
"""
import argparse
import collections
import os
import random
import subprocess
import sys

sys.dont_write_bytecode = True
import test_report  # noqa: E402

AT_ONCE = 4
TIMEOUT_SECONDS = 1200  # for what hangs; a machine that is robbed of its cores is slow
LOST_PRIORITY = 77      # what `torture steal` ends with where it may not steal


def options(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--seed", type=int, default=random.randrange(1, 2 ** 32))
    parser.add_argument("ctest", nargs="*", help="what ctest shall run: -L LABEL, -R EXPRESSION, ...")
    return parser.parse_args(arguments)


def command(o, number, log):
    ctest = ["ctest", "--test-dir", o.build, "--parallel", str(AT_ONCE), "--schedule-random", "--output-on-failure",
             "--no-tests=error", "--timeout", str(TIMEOUT_SECONDS), "--output-junit", log + ".xml", *o.ctest]
    return [os.path.join(o.build, "bin", "torture"), "steal", "--seed", str(o.seed + number), "--", *ctest]


def run_round(o, number):
    """{test: outcome} of one round."""
    log = os.path.abspath(f"build/log/steady-{number}")
    os.makedirs(os.path.dirname(log), exist_ok=True)
    if os.path.exists(log + ".xml"):
        os.remove(log + ".xml")
    words = command(o, number, log)
    with open(log + ".log", "w", encoding="utf-8") as out:
        code = subprocess.run(words, stdout=out, stderr=subprocess.STDOUT, check=False).returncode
        if code == LOST_PRIORITY:
            print("no real-time priority to steal with (run as root): four at once, and nothing else", flush=True)
            subprocess.run(words[words.index("--") + 1:], stdout=out, stderr=subprocess.STDOUT, check=False)
    return {name: test_report.outcome(case) for name, case in test_report.cases(log + ".xml").items()}


def sum_up(rounds):
    """Lines about tests that did not pass in every round, and whether there are none."""
    failures = collections.Counter(name for outcomes in rounds for name, said in outcomes.items() if said == "failed")
    lines = []
    for name, count in sorted(failures.items()):
        ran = sum(name in outcomes for outcomes in rounds)
        lines.append(f"{'failed' if count == ran else 'unsteady'}: {name} failed in {count} of {ran} rounds")
    empty = sum(not outcomes for outcomes in rounds)
    if empty:
        lines.append(f"failed: {empty} rounds ran no test at all")
    return lines


def main(arguments):
    o = options(arguments)
    print(f"{o.rounds} rounds with seed {o.seed}", flush=True)
    rounds = []
    for number in range(1, o.rounds + 1):
        outcomes = run_round(o, number)
        rounds.append(outcomes)
        failed = sorted(name for name, said in outcomes.items() if said == "failed")
        print(f"round {number}: {len(outcomes)} tests, {len(failed)} failed{': ' if failed else ''}{', '.join(failed)}",
              flush=True)
    lines = sum_up(rounds)
    print(*lines, f"{o.rounds} rounds, {len(lines)} tests that are not steady", sep="\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
