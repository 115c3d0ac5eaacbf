#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What another user has put there under a device's name: shown as that user's, never believed, never harmful to
look at.

    alien_test.py VINIC ACTOR        as root, who may give files away; skipped otherwise

A look that never ends shows as a time-out of actors.PATIENCE_SECONDS.
"""
import fcntl
import os
import struct
import sys
import threading
import unittest

import actors

ATTACKER = 65531
SHOWS = [("device", "show", "demo"), ("process", "show", "demo"), ("vi", "show", "demo"), ("cq", "show", "demo"),
         ("region", "show", "demo"), ("name", "show", "demo"), ("counter", "show", "demo"), ("doctor", "demo"),
         ("vi", "show", "demo", "3"), ("device", "show"), ("counter", "show"), ("doctor",)]
MAGIC = 0x3130_6369_6e69_76
SPAN = 64 << 30
HEADER = dict(magic=0, version=8, span=24, lock=64, marks=192)
PROCESSES = (64 << 10) + 4096 * 4
PROCESS_BYTES = 128
OFD_SETLK = 37


class Forgery:
    """A file that looks like a device of this layout, with tables of the forger's choice."""

    def __init__(self, path, layout, length):
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.ftruncate(self.fd, length)
        self.put(HEADER["magic"], "<QI", MAGIC, layout)
        self.put(HEADER["span"], "<Q", SPAN)
        self.lock(1 + 1000)
        os.fchown(self.fd, ATTACKER, ATTACKER)
        os.fchmod(self.fd, 0o666)

    def put(self, at, form, *words):
        os.pwrite(self.fd, struct.pack(form, *words), at)

    def lock(self, byte):
        fcntl.fcntl(self.fd, OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, byte, 1, 0))

    def backed(self, count):
        for table in range(6):
            self.put(HEADER["marks"] + 16 * table, "<III", count, count, 0)
        self.put(HEADER["marks"] + 96, "<I", count)


@unittest.skipUnless(os.geteuid() == 0, "only root may give files away")
class Alien(actors.Case):
    def setUp(self):
        super().setUp()
        os.chmod(self.directory, 0o1777)
        self.layout = self.vinic_json("--version")["layout_version"]

    def forge(self, length=SPAN):
        forgery = Forgery(self.path("demo"), self.layout, length)
        self.addCleanup(os.close, forgery.fd)
        return forgery

    def look(self):
        """Everything that shows something ends, and ends well or with a sentence."""
        for arguments in SHOWS:
            done = self.run_vinic(*arguments)
            self.assertIn(done.returncode, (0, 1), f"vinic {arguments}: {done.stderr}")
            self.assertNotRegex(done.stdout + done.stderr, "[\0-\t\v-\x1f]")

    def test_the_list_tells_whose_it_is_and_that_it_is_not_believed(self):
        self.forge().backed(1000)
        device = self.vinic_json("device", "show")["devices"][0]
        self.assertEqual((device["state"], device["user_id"], device["believed"], device["vis"]),
                         ("live", ATTACKER, "no", None))
        self.assertIn(f"{ATTACKER}  no", self.vinic("device", "show"))

    def test_the_doctor_says_so_and_recommends_nothing_of_it(self):
        forgery = self.forge()
        for make_stale in (False, True):
            if make_stale:
                fcntl.fcntl(forgery.fd, OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_UNLCK, 0, 0, 0, 0))
            for arguments, expect in ((("doctor",), 0), (("doctor", "demo"), 1)):
                said = self.vinic(*arguments, expect=expect)
                self.assertIn(f"belongs to user {ATTACKER}", said)
                for word in ("open it", "takes it over", "device remove"):
                    self.assertNotIn(word, said)

    def test_a_group_that_one_is_a_member_of_is_told_apart(self):
        group = os.getgroups()[0] if os.getgroups() else os.getegid()
        forgery = self.forge()
        os.fchown(forgery.fd, ATTACKER, group)
        os.fchmod(forgery.fd, 0o660)
        self.assertEqual(self.vinic_json("device", "show")["devices"][0]["believed"], "as_group")

    def test_tables_of_absurd_length(self):
        for length in (SPAN, (64 << 10) + 4096 * 4, 512 << 20):
            with self.subTest(length=length):
                self.forge(length).backed(0xffff_ffff)
                self.look()
                os.unlink(self.path("demo"))

    def test_extents_without_end(self):
        forgery = self.forge()
        forgery.backed(1024)
        for i in range(1024):
            at = PROCESSES + i * PROCESS_BYTES
            forgery.put(at, "<IIII", 1, 1, 1, 0)
            forgery.put(at + 32, "<IIQI", 1, 1 << 20, 1 << 30, 1 << 20)  # an odd sequence: for ever changing
        self.look()

    def test_a_file_that_shrinks_and_grows_while_it_is_shown(self):
        forgery = self.forge()
        forgery.backed(100_000)
        done = threading.Event()

        def breathe():
            while not done.is_set():
                os.ftruncate(forgery.fd, 4096)
                os.ftruncate(forgery.fd, SPAN)
                forgery.backed(100_000)

        breathing = threading.Thread(target=breathe)
        breathing.start()
        try:
            for _ in range(3):
                self.look()
        finally:
            done.set()
            breathing.join()

    def test_names_that_speak_to_the_terminal(self):
        forgery = self.forge()
        forgery.backed(64)
        at = PROCESSES
        forgery.put(at, "<IIII", 1, 1, 1, 0)
        forgery.put(at + 56, "32s", b"\x1b]0;owned\x07\x1b[2Jrm -rf")
        self.look()

    def test_locks_that_are_never_given_back(self):
        forgery = self.forge()
        forgery.lock(0)
        forgery.put(HEADER["lock"], "<I", 1001)
        self.look()
        self.assertIn("somebody is opening", self.refused("device", "remove", "demo"))

    def test_what_is_no_file(self):
        os.mkfifo(self.path("demo"), 0o666)
        os.chown(self.path("demo"), ATTACKER, ATTACKER)
        self.look()
        self.assertIn("use another name", self.vinic("doctor"))


if __name__ == "__main__":
    actors.main(sys.argv)
