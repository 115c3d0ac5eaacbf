#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`vinic doctor` and device files that were removed under their users.

    removed_test.py VINIC ACTOR
"""
import json
import os
import shutil
import sys

import actors


class RemovedDevice(actors.Case):
    def told(self, *arguments):
        """What the doctor says of removed devices, which is a failure; what else this machine lacks is not asked."""
        said = self.run_vinic("doctor", *arguments, "-j")
        checks = json.loads(said.stdout)["checks"]
        found = [c for c in checks if c["check"] == "removed device"]
        self.assertEqual({c["result"] for c in found}, {"fail"} if found else set())
        if found:
            self.assertEqual(said.returncode, 1)
        return found

    def test_a_device_whose_file_is_there_is_none(self):
        self.actor()
        self.assertEqual(self.told(), [])
        self.assertEqual(self.told("demo"), [])

    def test_each_process_that_has_it_open_is_told_with_its_name_and_the_cure(self):
        first, second = self.actor(), self.actor()
        os.unlink(self.path("demo"))
        found = self.told()
        self.assertEqual(len(found), 2)
        for actor in (first, second):
            self.assertEqual([c["found"] for c in found if f"process {actor.pid} (cli_actor)" in c["found"]],
                             [f"the file of shm:demo was removed while process {actor.pid} (cli_actor) has it open: "
                              "nobody can find it there"])
        self.assertIn("RemoveIPC=no", found[0]["cure"])
        first.leave()
        second.leave()
        self.assertEqual(self.told(), [])

    def test_a_new_device_of_its_name_does_not_hide_it(self):
        old = self.actor()
        os.unlink(self.path("demo"))
        young = self.actor()
        found = self.told("demo")
        self.assertEqual(len(found), 1)
        self.assertIn(f"process {old.pid} ", found[0]["found"])
        old.leave()
        self.assertEqual(self.told("demo"), [])
        young.leave()

    def test_who_asks_for_one_device_hears_of_that_one(self):
        self.actor()
        self.actor("shm:other")
        os.unlink(self.path("demo"))
        self.assertEqual(self.told("other"), [])
        self.assertEqual(len(self.told("shm:demo")), 1)
        os.unlink(self.path("other"))
        self.assertEqual(len(self.told("other")), 1)
        self.assertEqual(len(self.told()), 2)

    def test_it_is_found_whatever_the_directory_is_called(self):
        with_link = self.directory + "/link"
        os.symlink(self.directory, with_link)
        self.actor()
        for directory in (self.directory + "/", os.path.relpath(self.directory), with_link):
            self.assertEqual(self.told("--directory", directory), [])
        os.unlink(self.path("demo"))
        for directory in (self.directory + "/", os.path.relpath(self.directory), with_link):
            self.assertEqual(len(self.told("--directory", directory)), 1, directory)

    def test_the_directory_may_have_gone_with_it(self):
        place = os.path.join(self.directory, "place")
        os.mkdir(place)
        self.addCleanup(actors.Actor(place, "shm:demo").leave)
        shutil.rmtree(place)
        found = self.vinic_json("doctor", "--directory", place, expect=1)["checks"]
        self.assertEqual(len([c for c in found if c["check"] == "removed device"]), 1)

    def test_files_that_only_look_so_are_none(self):
        with open(self.path("demo") + " (deleted)", "w", encoding="utf-8"), \
             open(os.path.join(self.directory, "another"), "w", encoding="utf-8") as another:
            os.unlink(another.name)
            self.assertEqual(self.told(), [])


if __name__ == "__main__":
    actors.main(sys.argv)
