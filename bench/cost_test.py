#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What bench/cost counts: a loop and nothing else, and each time the same.

    cost_test.py BENCH_COST
"""
import importlib.machinery
import importlib.util
import pathlib
import shutil
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True


def load(name):
    loader = importlib.machinery.SourceFileLoader(name, str(HERE / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


cost = load("cost")
PROGRAM = ""


@unittest.skipUnless(shutil.which("valgrind"), "valgrind is missing")
class Counts(unittest.TestCase):
    def test_a_lease_is_counted_the_same_each_time_and_more_messages_as_more(self):
        once, again = (cost.instructions(PROGRAM, "lease_8", 64) for _ in range(2))
        self.assertEqual(once, again)
        self.assertGreater(cost.instructions(PROGRAM, "lease_8", 128), once)

    def test_what_lies_before_and_behind_the_loop_is_not_counted(self):
        # It posts 16384 messages before, whatever the number.
        self.assertLess(cost.instructions(PROGRAM, "lease_8", 64), 16384 * 10)

    def test_an_operation_that_fails_says_why(self):
        with self.assertRaisesRegex(cost.Failure, "there is no such operation"):
            cost.instructions(PROGRAM, "nonsense", 64)

    def test_a_program_without_a_loop_is_not_taken_for_one_that_costs_nothing(self):
        with self.assertRaisesRegex(cost.Failure, "found no function"):
            cost.instructions(shutil.which("true"), "lease_8", 64)


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
