#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The isolation matrix in seconds: its arithmetic, and that victims lose nothing, whatever a neighbour does.

No mark is asserted: they depend on the machine.  What depends on nothing is that every message of a victim ends
well, with the victim's own bytes, and that nobody's share is nothing.
"""
import json
import pathlib
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "isolation_parts"))
sys.dont_write_bytecode = True

import arithmetic  # noqa: E402  (found beside this file)


class Arithmetic(unittest.TestCase):
    def test_jain_is_one_for_equals_and_one_nth_for_a_monopoly(self):
        self.assertAlmostEqual(arithmetic.jain([5, 5, 5]), 1.0)
        self.assertAlmostEqual(arithmetic.jain([0, 7, 0, 0]), 0.25)
        self.assertEqual(arithmetic.jain([0, 0]), 0.0)

    def test_marks_of_both_directions(self):
        self.assertEqual([arithmetic.mark(value, 0.9, 0.97, True) for value in (0.97, 0.9, 0.89)],
                         ["stretch", "pass", "MISS"])
        self.assertEqual([arithmetic.mark(value, 2, 1, False) for value in (1, 2, 2.1)], ["stretch", "pass", "MISS"])

    def test_a_share_is_compared_with_its_weight(self):
        self.assertAlmostEqual(arithmetic.share_error({0: 10, 1: 20, 2: 40}, {0: 1, 1: 2, 2: 4}), 0.0)
        self.assertAlmostEqual(arithmetic.share_error({0: 50, 1: 50}, {0: 1, 1: 3}), 1.0)

    def test_rates_go_by_each_functions_own_clock(self):
        before = {0: {"bytes": 0, "at_ns": 0}, 1: {"bytes": 0, "at_ns": 0}}
        after = {0: {"bytes": 100, "at_ns": 1_000_000_000}, 1: {"bytes": 100, "at_ns": 2_000_000_000}}
        self.assertEqual(arithmetic.rates(before, after, "bytes", "at_ns"), {0: 100.0, 1: 50.0})

    def test_a_ratio_is_to_both_neighbours(self):
        self.assertAlmostEqual(arithmetic.ratio(6, 10, 14), 0.5)
        self.assertEqual(arithmetic.ratio(6, 0, 0), 0.0)

    def test_convergence_is_seen_where_the_rate_stays(self):
        self.assertEqual(arithmetic.converged_after_ms([20] * 10 + [20, 20] + [10] * 20, 10, 0.5), 1.0)
        self.assertEqual(arithmetic.converged_after_ms([20] * 10 + [10] * 20, 10, 0.5), 0.0)
        self.assertIsNone(arithmetic.converged_after_ms([20] * 3, 1, 0.5))


class Matrix(unittest.TestCase):
    def test_victims_lose_nothing(self):
        words = [sys.executable, str(HERE / "isolation"), "--json", "--only", "V1,V3,A2,A5,A15", "--rounds", "1",
                 "--milliseconds", "60", "--no-metrics"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = json.loads(done.stdout)["matrix"]
        for victim, row in found["rounds"].items():
            for attacker, rounds in row.items():
                for part, result in rounds[0].items():
                    where = f"{victim} beside {attacker}, {part}"
                    self.assertGreater(result["messages"], 0, where)
                    self.assertEqual((result["errors"], result["corrupt"]), (0, 0), where)
                self.assertGreater(rounds[0]["attacked"]["attacker_operations"], 0, f"{attacker} beside {victim}")


if __name__ == "__main__":
    unittest.main()
