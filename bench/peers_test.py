#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The comparison's arithmetic: ratios, verdicts, and the check of instruction counts."""
import importlib.machinery
import importlib.util
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peer_programs"))
sys.dont_write_bytecode = True

import contenders  # noqa: E402
import goals  # noqa: E402


def load(name):
    loader = importlib.machinery.SourceFileLoader(name, str(HERE / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


class Goals(unittest.TestCase):
    def test_at_most_and_at_least_are_told_apart(self):
        low = goals.Goal("x", 0.5, True, "x")
        high = goals.Goal("x", 3.0, False, "x")
        self.assertEqual([low.verdict(0.5), low.verdict(0.51)], ["met", "MISSED"])
        self.assertEqual([high.verdict(3.0), high.verdict(2.9)], ["met", "MISSED"])
        self.assertEqual(low.verdict(None), "not measured")

    def test_every_goal_names_a_ratio_that_somebody_computes(self):
        medians = {each.key: {"vinic": 2.0, "ucx": 4.0} for each in contenders.WORKLOADS}
        limits = {f"{each.key}/{'handoff' if each.kind == 'lat' else 'memcpy'}": 1.0 for each in contenders.WORKLOADS}
        extra = {"scale_1000": 1.0, "scale_10000": 1.0, "idle_vi_kib": 8.0, "foreign_4096": 1.0, "foreign_65536": 1.0}
        rows = goals.evaluate(goals.ratios(medians, limits, extra))
        self.assertTrue(all(row["ratio"] is not None for row in rows), rows)
        self.assertEqual(next(row["ratio"] for row in rows if "4 KiB, p50" in row["goal"]), 0.5)

    def test_without_peers_nothing_is_claimed(self):
        rows = goals.evaluate(goals.ratios({"lat_8": {"vinic": 100.0}}, {}, {}))
        self.assertEqual({row["verdict"] for row in rows}, {"not measured"})


class Workloads(unittest.TestCase):
    def test_faster_is_above_one_for_latency_and_for_streams(self):
        latency = contenders.Workload("a", "a", "lat", 8)
        stream = contenders.Workload("b", "b", "stream", 4096)
        self.assertEqual(latency.speed_ratio(100, 200), 2.0)
        self.assertEqual(stream.speed_ratio(200, 100), 2.0)
        self.assertEqual([latency.say(1500), stream.say(1e6), latency.say(None)], ["1.500 us", "4.10 GB/s", "-"])


class Cost(unittest.TestCase):
    def test_dearer_operations_are_found_and_small_changes_are_not(self):
        cost = load("cost")
        known = {"poll": 50.0, "send": 200.0}
        self.assertEqual(cost.check({"poll": 50.9, "send": 209.0, "new": 9.0}, known, 0.05), [])
        self.assertEqual(cost.check({"poll": 80.0, "send": 150.0}, known, 0.05),
                         ["poll: 50.0 -> 80.0 instructions"])


if __name__ == "__main__":
    unittest.main()
