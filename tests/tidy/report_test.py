#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The judge of ./check forgives what it should, and nothing else; what took longest is found where it stands."""
import os
import sys
import tempfile
import unittest
import xml.etree.ElementTree

sys.dont_write_bytecode = True  # the source tree stays as it is
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts"))
import slowest  # noqa: E402
import test_report  # noqa: E402


def case(status, said="", skipped=None):
    told = "" if skipped is None else f'<skipped message="{skipped}"/>'
    return xml.etree.ElementTree.fromstring(
        f'<testcase name="it" status="{status}">{told}<system-out>{said}</system-out></testcase>')


def verdict(first, again=None, word="Failed"):
    log = f"The following tests FAILED:\n\t 12 - it ({word})\n" if test_report.outcome(first) == "failed" else ""
    (_, judged, _), = test_report.judge({"it": first}, {} if again is None else {"it": again}, log)
    return judged


class Judge(unittest.TestCase):
    def test_what_passes_or_is_skipped_is_what_it_is(self):
        self.assertEqual(verdict(case("run")), "passed")
        self.assertEqual(verdict(case("notrun", skipped="SKIP_RETURN_CODE=77")), "skipped")
        self.assertEqual(verdict(case("notrun", skipped="SKIP_REGULAR_EXPRESSION_MATCHED")), "skipped")
        self.assertEqual(verdict(case("disabled")), "skipped")

    def test_what_could_not_be_started_has_failed(self):
        self.assertEqual(verdict(case("notrun", skipped="Unable to find executable")), "failed")

    def test_what_passes_alone_is_unsteady(self):
        self.assertEqual(verdict(case("fail"), case("run")), "unsteady")

    def test_what_fails_twice_has_failed_and_so_has_what_did_not_run_again(self):
        self.assertEqual(verdict(case("fail"), case("fail")), "failed")
        self.assertEqual(verdict(case("fail"), case("notrun", skipped="SKIP_RETURN_CODE=77")), "failed")
        self.assertEqual(verdict(case("fail")), "failed")

    def test_crashes_and_hangs_are_not_forgiven(self):
        for word in ("SEGFAULT", "Subprocess aborted", "Timeout", "Not Run"):
            self.assertEqual(verdict(case("fail"), case("run"), word), "failed", word)

    def test_finds_are_not_forgiven(self):
        for said in ("WARNING: ThreadSanitizer: race", "ERROR: AddressSanitizer: x", "==1== ERROR: libFuzzer: x",
                     "the seed was 7"):
            self.assertEqual(verdict(case("fail", said), case("run")), "failed", said)

    def test_a_report_that_is_not_there_has_no_tests(self):
        self.assertEqual(test_report.cases("/nonexistent.xml"), {})


class Slowest(unittest.TestCase):
    OLD, NEW = 5 * 10 ** 9, 7 * 10 ** 9

    def compiled(self, *lines):
        return slowest.files("asan", ["# ninja log v5\n", *("\t".join(map(str, line)) + "\n" for line in lines)], 6)

    def test_files_are_named_as_they_are_in_the_tree(self):
        self.assertEqual(slowest.source("src/cli/CMakeFiles/vinic_cli.dir/main.cc.o"), "src/cli/main.cc (vinic_cli)")
        self.assertEqual(slowest.source("tests/isolated/CMakeFiles/isolated_test.dir/__/multi/fixture.cc.o"),
                         "tests/multi/fixture.cc (isolated_test)")
        self.assertEqual(slowest.source("CMakeFiles/headers.dir/cmake_pch.hxx.gch"), "cmake_pch.hxx (headers)")

    def test_what_is_linked_is_not_compiled(self):
        self.assertIsNone(slowest.source("bin/vinic"))
        self.assertIsNone(slowest.source("src/libvinic.so.0.1.0"))

    def test_of_a_file_that_was_compiled_twice_the_last_time_counts(self):
        output = "src/CMakeFiles/a.dir/b.cc.o"
        self.assertEqual(self.compiled((0, 9000, self.NEW, output, "x"), (0, 1500, self.NEW, output, "x")),
                         [(1.5, "asan", "src/b.cc (a)")])

    def test_what_another_run_compiled_is_left_out(self):
        self.assertEqual(self.compiled((0, 9000, self.OLD, "src/CMakeFiles/a.dir/b.cc.o", "x"), ("broken",)), [])

    def test_the_slowest_come_first_and_no_more_than_ten(self):
        rows = [(float(seconds), "tsan", f"test{seconds}") for seconds in range(12)]
        lines = slowest.table("slowest tests", rows)
        self.assertEqual(lines[:3], ["", "slowest tests", "    11.0 s  tsan      test11"])
        self.assertEqual(len(lines), 12)
        self.assertEqual(slowest.table("slowest tests", []), [])

    def test_times_of_tests_are_those_of_the_report(self):
        with tempfile.NamedTemporaryFile("w", suffix=".xml") as report:
            report.write('<testsuite><testcase name="it" time="2.25" status="run"/></testsuite>')
            report.flush()
            self.assertEqual(list(slowest.tests("release", report.name)), [(2.25, "release", "it")])


if __name__ == "__main__":
    unittest.main()
