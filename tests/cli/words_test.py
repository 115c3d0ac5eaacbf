#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The words of the command line: shortened, asked about, and wrong.

    words_test.py VINIC ACTOR
"""
import glob
import json
import os
import re
import subprocess
import sys

import actors

OBJECTS = {"device": ["show", "remove"], "process": ["show"], "vi": ["show"], "cq": ["show"], "region": ["show"],
           "name": ["show"], "counter": ["show"], "bench": ["lat", "bw", "rate"]}


class Words(actors.Case):
    def test_the_version(self):
        self.assertRegex(self.vinic("--version"), r"^vinic \d+\.\d+\.\d+ \(device layout \d+\)\n$")
        self.assertEqual(self.vinic("-V"), self.vinic("--version"))
        document = self.vinic_json("--version")
        self.assertEqual(set(document), {"schema", "version", "layout_version"})

    def test_help_at_each_level(self):
        for ask in ("help", "--help", "-h"):
            for name in OBJECTS:
                self.assertIn(name, self.vinic(ask))
        self.assertEqual(self.vinic(), self.vinic("help"))
        for name, commands in OBJECTS.items():
            for ask in ("help", "--help"):
                for command in commands:
                    self.assertIn(command, self.vinic(name, ask))
                    self.assertIn("Usage: vinic " + name + " " + command, self.vinic(name, command, ask))
            self.assertEqual(self.vinic("help", name), self.vinic(name, "help"))
        self.assertIn("Usage: vinic doctor", self.vinic("doctor", "help"))

    def test_words_may_be_shortened_to_a_unique_beginning(self):
        self.actor()
        self.assertEqual(self.vinic("v", "s", "demo"), self.vinic("vi", "show", "demo"))
        self.assertEqual(self.vinic("dev"), self.vinic("device", "show"))
        self.assertIn("Usage: vinic bench rate", self.vinic("b", "r", "--help"))

    def test_options_may_stand_first(self):
        self.actor()
        self.assertEqual(json.loads(self.vinic("-j", "vi", "show", "demo"))["vis"], [])
        self.assertEqual(self.vinic("--directory", self.directory, "-d", "cq", "show", "shm:demo"),
                         self.vinic("cq", "show", "demo", "-d", "--directory=" + self.directory))

    def test_wrong_words_are_answered_with_2_and_one_line(self):
        self.actor()
        for arguments, word in [(["no"], "is none of the words"), (["d"], "may be device, doctor"),
                                (["c"], "may be cq, counter"), (["device", "paint"], "is none of the words"),
                                (["vi", "show"], "DEVICE is required"), (["vi", "show", "demo", "x"], "x"),
                                (["vi", "show", "demo", "-1"], ""), (["device", "show", "--paint"], "--paint"),
                                (["device", "remove"], "NAME is required"),
                                (["counter", "show", "--vi", "1"], "DEVICE"),
                                (["counter", "show", "demo", "--watch", "0"], "--watch"),
                                (["counter", "show", "demo", "--watch", "soon"], "--watch"),
                                (["counter", "show", "demo", "--count", "2"], "--watch"),
                                (["counter", "show", "demo", "--openmetrics", "-j"], "--json"),
                                (["bench"], "a command is missing: lat, bw, rate"),
                                (["counter", "show", "demo", "--watch", "1", "--count", "0"], "--count"),
                                (["-j"], ""), (["", "show"], "")]:
            said = self.refused(*arguments, expect=2)
            self.assertIn(word, said)
            self.assertRegex(said, r"see `vinic[a-z ]* --help`$")

    def test_every_command_that_a_message_recommends_is_one(self):
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src")
        named = set()
        for path in glob.glob(source + "/**/*.cc", recursive=True) + glob.glob(source + "/**/*.hpp", recursive=True):
            with open(path, encoding="utf-8") as file:
                code = "".join(line for line in file if not line.lstrip().startswith("//"))
            code = re.sub(r'"\s*\n\s*"', "", code)  # one sentence in several literals
            for command in re.findall(r"`vinic ([^`]*)`", code):
                named.add(re.sub(r'" \+[^"]*\+ "', "NAME", re.sub(r'" \+[^"]*$', "NAME", command)))
        self.assertGreaterEqual(len(named), 5)
        for command in sorted(named):
            command = command.replace("--device NAME", "--device vinicd:PATH")
            done = self.run_vinic(*command.split())
            self.assertNotEqual(done.returncode, 2, f"`vinic {command}` is recommended: {done.stderr}")

    def test_output_that_cannot_be_written_is_an_error(self):
        for arguments, who in [(["doctor"], "vinic"), (["--help"], "vinic"),
                               (["bench", "lat", "-n", "100"], "vinic bench lat"),
                               (["bench", "rate", "-n", "100", "-j"], "vinic bench rate")]:
            with open("/dev/full", "w", encoding="utf-8") as full:
                done = subprocess.run([actors.VINIC, *arguments], env=self.environment, stdout=full,
                                      stderr=subprocess.PIPE, text=True, timeout=60, check=False)
            self.assertEqual((done.returncode, done.stderr),
                             (1, who + ": writing the output: No space left on device\n"))
            self.assertEqual(os.listdir(self.directory), [])

    def test_a_bench_with_its_output_closed_does_not_print_into_its_device(self):
        done = subprocess.run(["sh", "-c", '"$0" bench lat -n 100 >&-', actors.VINIC], env=self.environment,
                              stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stderr),
                         (1, "vinic bench lat: writing the output: Bad file descriptor\n"))
        self.assertEqual(os.listdir(self.directory), [])

    def test_a_bench_whose_reader_has_gone_leaves_nothing(self):
        script = '"$0" bench lat -n 100 -s 8,16,32,64,128,256 | head -n 1; exit ${PIPESTATUS[0]}'
        done = subprocess.run(["bash", "-c", script, actors.VINIC], env=self.environment, capture_output=True,
                              text=True, timeout=60, check=False)
        self.assertIn((done.returncode, done.stderr),
                      [(1, "vinic bench lat: writing the output: Broken pipe\n"), (0, "")])
        self.assertEqual(os.listdir(self.directory), [])


class Doctor(actors.Case):
    def test_each_check_has_a_verdict_and_what_is_not_ok_has_a_cause(self):
        document = self.vinic_json("doctor")
        names = [c["check"] for c in document["checks"]]
        for wanted in ("directory", "room", "fallocate", "locks", "file size", "mapping", "kernel", "cpus", "governor",
                       "membarrier", "userfaultfd", "foreign memory", "memlock", "open files"):
            self.assertIn(wanted, names)
        for check in document["checks"]:
            self.assertIn(check["result"], ("ok", "warn", "fail"))
            self.assertTrue(check["found"])
        counts = [sum(c["result"] == r for c in document["checks"]) for r in ("ok", "warn", "fail")]
        self.assertEqual([document[k] for k in ("ok", "warnings", "failures")], counts)

    def test_a_limit_that_forbids_devices_is_found(self):
        limits = [("-f 100", "file size")]
        if not os.environ.get("VINIC_SANITIZED"):  # a sanitizer's own address space is larger than that
            limits.append(("-v 4000000", "mapping"))
        for limit, check in limits:
            done = subprocess.run(["bash", "-c", f'ulimit {limit} && exec "$0" doctor -j', actors.VINIC],
                                  env=self.environment, capture_output=True, text=True, check=False)
            found = [c for c in json.loads(done.stdout)["checks"] if c["check"] == check]
            self.assertEqual((done.returncode, found[0]["result"]), (1, "fail"), done.stdout)
            self.assertIn("ulimit", found[0]["cure"])

    def test_one_cpu_is_worth_a_warning(self):
        done = subprocess.run(["taskset", "-c", "0", actors.VINIC, "doctor", "-j"], env=self.environment,
                              capture_output=True, text=True, check=False)
        found = [c for c in json.loads(done.stdout)["checks"] if c["check"] == "cpus"]
        self.assertEqual(found[0]["result"], "warn", done.stderr)


if __name__ == "__main__":
    actors.main(sys.argv)
