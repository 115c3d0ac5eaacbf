#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `vinic` finds out about devices in use, left behind, damaged, or none at all.

    show_test.py VINIC ACTOR
"""
import json
import os
import shutil
import signal
import struct
import sys
import time

import actors

SHOWS = [("device", "show"), ("process", "show", "demo"), ("vi", "show", "demo"), ("region", "show", "demo"),
         ("name", "show", "demo"), ("cq", "show", "demo"), ("counter", "show", "demo")]


class LiveDevice(actors.Case):
    def test_lines_are_aligned(self):
        self.connected_pair()
        for arguments in SHOWS:
            lines = self.vinic(*arguments).split("\n\n")[0].rstrip("\n").split("\n")
            starts = {i for i in range(2, max(map(len, lines)))
                      if all(len(line) > i and line[i - 2:i] == "  " for line in lines)}
            self.assertTrue(len(lines) >= 2 and starts, f"{arguments}: {lines}")

    def test_looking_takes_no_page_and_changes_nothing(self):
        server, _ = self.connected_pair()
        server.do("buffer 268435456")  # taken, but never touched: reading it through a mapping would show
        before = os.stat(self.path("demo"))
        for arguments in SHOWS + [("doctor", "demo"), ("doctor",)]:
            self.vinic(*arguments)
        after = os.stat(self.path("demo"))
        self.assertEqual((after.st_blocks, after.st_mtime_ns, after.st_size),
                         (before.st_blocks, before.st_mtime_ns, before.st_size))
        self.assertEqual(os.listdir(self.directory), ["vinic-demo"])

    def test_a_stopped_process_can_be_looked_at(self):
        server, client = self.connected_pair()
        for actor in (server, client):
            actor.process.send_signal(signal.SIGSTOP)
        for arguments in SHOWS:
            self.vinic(*arguments)
        self.assertIn(f"process {server.pid} (cli_actor) is stopped; kill -CONT", self.vinic("doctor", "demo"))

    def test_messages_that_wait_for_the_receiver_are_seen(self):
        server, client = self.connected_pair()
        client.do("send 8 3")
        client_vi = self.vinic_json("vi", "show", "demo", "1")["vis"][0]
        self.assertEqual((client_vi["sends_waiting"], client_vi["send_queue_executor"]), (3, "handed_over"))
        server.do("receive 64 10", "reap 3")
        server_vi, client_vi = self.vinic_json("vi", "show", "demo")["vis"]
        self.assertEqual((client_vi["sends_waiting"], client_vi["send_queue_executor"]), (0, "owner"))
        self.assertEqual((server_vi["receives_posted"], server_vi["rx_messages"], server_vi["rx_bytes"]), (7, 3, 24))

    def test_posted_receives_are_counted_over_reconnects_and_wraps(self):
        server, client = self.connected_pair()
        for _ in range(5):  # the ring is 16 deep
            server.do("receive 64 6")
            client.do("send 8 6", "reap 6")
            server.do("reap 6")
        server.do("receive 64 4")
        posted = lambda: self.vinic_json("vi", "show", "demo", "0")["vis"][0]["receives_posted"]
        self.assertEqual(posted(), 4)
        client.do("disconnect")
        self.assertIsNone(posted())  # broken: all of them get flushed
        server.do("disconnect", "reap 4")
        self.assertEqual(posted(), 0)
        server.do("receive 64 2")
        server.tell("accept")
        client.do("connect server")
        server.hear()
        self.assertEqual(posted(), 2)

    def test_a_datagram_vi_counts_its_receives(self):
        server = self.actor()
        client = self.actor()
        server.do("datagram mailbox", "receive 64 3")
        client.do("datagram sensor", "resolve mailbox", "send_to 8", "reap 1")
        vi = self.vinic_json("vi", "show", "demo", "0")["vis"][0]
        self.assertEqual((vi["service"], vi["receives_posted"]), ("datagram", 2))

    def test_several_devices(self):
        self.actor("shm:one")
        self.actor("shm:two")
        self.assertEqual([d["device"] for d in self.vinic_json("device", "show")["devices"]], ["shm:one", "shm:two"])
        self.assertEqual([d["device"] for d in self.vinic_json("device", "show", "two")["devices"]], ["shm:two"])
        self.assertEqual([d["device"] for d in self.vinic_json("counter", "show")["devices"]], ["shm:one", "shm:two"])

    def test_a_name_cannot_paint_the_terminal(self):
        server = self.actor()
        server.do("listen \x1b[31mr\u00e9d")
        self.assertIn("\\x1b[31mr\u00e9d", self.vinic("name", "show", "demo"))
        self.assertEqual(self.vinic_json("name", "show", "demo")["names"][0]["name"], "\\x1b[31mr\u00e9d")

    def test_an_open_device_is_not_removed(self):
        server = self.actor()
        self.assertIn("living processes have it open", self.refused("device", "remove", "demo"))
        server.do("vi")
        self.assertTrue(os.path.exists(self.path("demo")))


class DeadDevice(actors.Case):
    def setUp(self):
        super().setUp()
        self.server, self.client = self.connected_pair()
        self.client.do("send 8 2")
        self.server.kill()
        self.client.kill()

    def test_everything_can_still_be_seen(self):
        for arguments in SHOWS:
            self.vinic(*arguments)
        device = self.vinic_json("device", "show", "demo")["devices"][0]
        self.assertEqual((device["state"], device["processes_live"], device["vis"]), ("stale", 0, 2))
        self.assertEqual([p["state"] for p in device["processes"]], ["dead", "dead"])
        self.assertEqual([p["pid"] for p in device["processes"]], [self.server.pid, self.client.pid])
        self.assertEqual(self.vinic_json("vi", "show", "demo", "1")["vis"][0]["sends_waiting"], 2)
        counted = self.counters("demo")
        self.assertEqual((counted["tx_handed_over_messages"], counted["tx_send_messages"]), (2, 0))

    def test_doctor_offers_to_remove_it_and_that_works(self):
        found = [c for c in self.vinic_json("doctor")["checks"] if c["check"] == "stale device"]
        self.assertEqual(len(found), 1)
        self.assertEqual((found[0]["result"], found[0]["cure"][:27]), ("warn", "`vinic device remove demo`,"))
        self.assertEqual(self.vinic("device", "remove", "demo"), "removed demo\n")
        self.assertEqual(os.listdir(self.directory), [])
        self.assertIn("nothing was left behind", self.vinic("doctor"))
        self.assertIn("no such device", self.refused("device", "remove", "demo"))

    def test_the_next_opener_takes_it_over(self):
        self.actor()
        device = self.vinic_json("device", "show", "demo")["devices"][0]
        self.assertEqual((device["state"], device["processes_live"], device["vis"]), ("live", 1, 0))

    def test_opening_and_removing_at_once_leaves_the_opener_a_device(self):
        keep = self.path("demo") + ".kept"
        shutil.move(self.path("demo"), keep)
        for _ in range(20):
            self.run_copy(keep)
            opener = actors.subprocess.Popen([actors.VINIC, "device", "remove", "demo"], env=self.environment,
                                             stdout=actors.subprocess.DEVNULL, stderr=actors.subprocess.DEVNULL)
            actor = self.actor()
            opener.wait(actors.PATIENCE_SECONDS)
            actor.do("vi", "buffer 4096")
            self.assertEqual(self.vinic_json("device", "show", "demo")["devices"][0]["processes_live"], 1)
            actor.leave()

    def run_copy(self, source):
        """The file with its holes."""
        actors.subprocess.run(["cp", "--sparse=always", source, self.path("demo")], check=True)

    def patch(self, offset, content):
        with open(self.path("demo"), "r+b") as file:
            file.seek(offset)
            file.write(content)

    def test_another_layout_version_is_told_with_both_numbers(self):
        self.patch(8, struct.pack("<I", 77))
        device = self.vinic_json("device", "show", "demo")["devices"][0]
        self.assertEqual((device["state"], device["layout_version"], device["vis"]), ("other_version", 77, None))
        said = self.refused("vi", "show", "demo")
        self.assertIn("has layout version 77, this program reads version", said)
        self.assertIn("`vinic device remove demo`", self.vinic("doctor"))
        self.vinic("device", "remove", "demo")

    def test_a_device_that_was_never_finished(self):
        self.patch(0, bytes(8))
        self.assertEqual(self.vinic_json("device", "show", "demo")["devices"][0]["state"], "unfinished")
        self.assertIn("is not finished being made", self.refused("vi", "show", "demo"))
        self.assertIn("was never finished", self.vinic("doctor"))
        self.vinic("device", "remove", "demo")

    def test_a_dead_lock_holder_is_no_obstacle(self):
        self.patch(64, struct.pack("<I", 1))  # device_header::lock
        started = time.monotonic()
        self.vinic("counter", "show", "demo")
        self.assertLess(time.monotonic() - started, 20)
        self.assertIn("the lock's holder is dead", self.vinic("doctor", "demo"))


class NoDevice(actors.Case):
    def test_an_empty_directory(self):
        self.assertEqual(self.vinic("device", "show"), f"no devices in {self.directory}\n")
        self.assertEqual(self.vinic_json("device", "show")["devices"], [])

    def test_a_directory_that_is_not_there(self):
        said = self.refused("device", "show", "--directory", self.directory + "/none")
        self.assertIn("No such file or directory", said)
        self.assertIn("--directory", said)
        checks = self.vinic_json("doctor", "--directory", self.directory + "/none", expect=1)
        self.assertGreaterEqual(checks["failures"], 1)

    def test_a_name_that_no_device_has(self):
        for arguments in SHOWS[1:]:
            self.assertIn("device shm:demo", self.refused(*arguments))
        for name in ("shm:", "a/b", "a" * 64, "shm:a b", "../x"):
            self.assertIn("write shm:NAME", self.refused("vi", "show", name))
        self.assertEqual(self.vinic_json("doctor", "demo", expect=1)["checks"][-1]["result"], "fail")

    def test_files_that_only_have_such_a_name(self):
        with open(self.path("text"), "w", encoding="utf-8") as file:
            file.write("no device " * 100)
        os.mkfifo(self.path("pipe"))
        os.mkdir(self.path("directory"))
        os.symlink(self.path("text"), self.path("link"))
        with open(self.path("short"), "wb") as file:
            version = self.vinic_json("--version")["layout_version"]
            file.write(b"vinic01\0" + struct.pack("<I", version) + bytes(4000))
        states = {d["device"]: d["state"] for d in self.vinic_json("device", "show")["devices"]}
        self.assertEqual(states, {f"shm:{n}": "not_a_device" for n in ("text", "pipe", "directory", "link", "short")})
        for name in ("text", "pipe", "directory", "link", "short"):
            self.assertIn("is no vinic device", self.refused("vi", "show", name))
            self.assertIn("is no vinic device", self.refused("device", "remove", name))
        self.assertEqual(len(os.listdir(self.directory)), 5)

    def test_a_device_of_somebody_else(self):
        self.actor()
        os.chmod(self.path("demo"), 0)
        os.chmod(self.directory, 0o755)
        nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        shown = self.run_vinic("device", "show", "-j", **nobody)
        self.assertEqual([d["state"] for d in json.loads(shown.stdout)["devices"]], ["no_access"], shown.stderr)
        done = self.run_vinic("vi", "show", "demo", **nobody)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, "belongs to user [a-z0-9]")


if __name__ == "__main__":
    actors.main(sys.argv)
