#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The judge of ./check forgives what it should, and nothing else."""
import os
import sys
import unittest
import xml.etree.ElementTree

sys.dont_write_bytecode = True  # the source tree stays as it is
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts"))
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


if __name__ == "__main__":
    unittest.main()
