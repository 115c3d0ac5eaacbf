#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""scripts/steady.py tells tests that always fail from those that sometimes do."""
import os
import sys
import unittest

sys.dont_write_bytecode = True  # the source tree stays as it is
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts"))
import steady  # noqa: E402


class Rounds(unittest.TestCase):
    def test_all_that_pass_leave_nothing_to_say(self):
        self.assertEqual(steady.sum_up([{"a": "passed", "b": "skipped"}, {"a": "passed", "b": "skipped"}]), [])

    def test_one_failure_in_many_rounds_is_unsteady_and_one_in_each_is_a_failure(self):
        self.assertEqual(steady.sum_up([{"a": "failed", "b": "passed"}, {"a": "failed", "b": "failed"}]),
                         ["failed: a failed in 2 of 2 rounds", "unsteady: b failed in 1 of 2 rounds"])

    def test_rounds_without_tests_are_a_failure(self):
        self.assertEqual(steady.sum_up([{}]), ["failed: 1 rounds ran no test at all"])


if __name__ == "__main__":
    unittest.main()
