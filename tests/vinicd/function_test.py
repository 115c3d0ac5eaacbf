#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`vinic function`, `vinic top` and `vinic monitor` with a running vinicd."""
import json
import os
import pty
import re
import select
import socket
import subprocess
import sys
import threading
import time

import house

HERE = os.path.dirname(os.path.abspath(__file__))
HEADINGS = ("FUNCTION OWNER GROUP ENABLED GUARANTEE CAP WEIGHT PRIORITY CONTEXTS VIS REGIONS "
            "MEMORY MEMORY-LIMIT TX-MESSAGES TX-BYTES RX-MESSAGES RX-BYTES")
TOP_HEADINGS = "FUNCTION CONTEXTS VIS TX-MSGS/S TX-BYTES/S RX-MSGS/S RX-BYTES/S DROPS/S ENGINE%"


class Commands(house.Case):
    def setUp(self):
        super().setUp()
        self.daemon = self.start("--functions", "3")
        self.device = "vinicd:" + self.path

    def run_vinic(self, *arguments, device=None):
        return subprocess.run([house.VINIC, *arguments, "--device", device or self.device], capture_output=True,
                              text=True, timeout=house.PATIENCE_SECONDS, check=False)

    def vinic(self, *arguments, **options):
        done = self.run_vinic(*arguments, **options)
        self.assertEqual((done.returncode, done.stderr), (0, ""), arguments)
        return done.stdout

    def json(self, *arguments, **options):
        document = json.loads(self.vinic(*arguments, "-j", **options))
        self.assertEqual((document["schema"], document["device"]), (1, self.device))
        return document["functions"]

    def refused(self, *arguments, code=1, **options):
        done = self.run_vinic(*arguments, **options)
        self.assertEqual((done.returncode, done.stdout), (code, ""), arguments)
        self.assertTrue(done.stderr.startswith("vinic: ") and done.stderr.count("\n") == 1, done.stderr)
        return done.stderr

    def rows(self, text):
        lines = [line.split() for line in text.splitlines()]
        return {row[0]: dict(zip(lines[0], row)) for row in lines[1:] if row}

    def test_the_pf_and_its_vfs_are_listed(self):
        text = self.vinic("function", "show")
        self.assertEqual(" ".join(text.splitlines()[0].split()), HEADINGS)
        self.assertEqual(list(self.rows(text)), ["pf", "vf0", "vf1", "vf2"])
        self.assertEqual([f["name"] for f in self.json("function", "show")], ["pf", "vf0", "vf1", "vf2"])

    @house.needs_root
    def test_who_was_given_no_function_is_told(self):
        os.chmod(self.path, 0o666)
        done = subprocess.run(
            [house.VINIC, "function", "show", "--device", self.device], capture_output=True, text=True,
            timeout=house.PATIENCE_SECONDS, check=False, cwd="/",
            user=house.NOBODY, group=house.NOBODY, extra_groups=[])
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("none of the functions of " + self.device + " was given to this user", done.stderr)

    def test_one_function_by_word_or_by_address(self):
        self.assertEqual([f["name"] for f in self.json("function", "show", "vf1")], ["vf1"])
        self.assertEqual([f["name"] for f in self.json("function", "show", device=self.device + "#vf2")], ["vf2"])
        self.assertIn("leave one out",
                      self.refused("function", "show", "vf1", device=self.device + "#vf2", code=2))
        self.assertIn("vf0 to vf2", self.refused("function", "show", "vf3"))

    def test_rates_are_set_and_shown(self):
        text = self.vinic("function", "set", "vf1", "--guarantee", "2GB/s", "--cap", "4GB/s", "--weight", "10",
                          "--priority", "1")
        for shown in (text, self.vinic("function", "show")):
            row = self.rows(shown)["vf1"]
            self.assertEqual((row["GUARANTEE"], row["CAP"], row["WEIGHT"], row["PRIORITY"]),
                             ("2GB/s", "4GB/s", "10", "1"))
        vf1 = self.json("function", "show")[2]
        self.assertEqual((vf1["guarantee_bytes_per_second"], vf1["cap_bytes_per_second"], vf1["weight"],
                          vf1["priority"]), (2 * 10 ** 9, 4 * 10 ** 9, 10, 1))
        self.assertEqual(self.json("function", "set", "vf1", "--cap", "none")[0]["cap_bytes_per_second"], 0)
        self.vinic("function", "set", "vf1", "--enabled", "off", "--owner", "root")
        vf1 = self.json("function", "show", "vf1")[0]
        self.assertEqual((vf1["enabled"], vf1["owner"], vf1["weight"]), (False, "root", 10))

    def test_words_that_are_not_understood_are_2_and_what_is_refused_is_1(self):
        for words, said in ((["--cap", "fast"], "is no rate"), (["--cap", "5"], "has no unit: write 5MB/s"),
                            (["--weight", "x"], "is no number"),
                            (["--enabled", "maybe"], "--enabled"), ([], "nothing to set")):
            self.assertIn(said, self.refused("function", "set", "vf1", *words, code=2))
        self.assertIn("required", self.refused("function", "set", code=2))
        self.assertIn("required", self.refused("function", "reset", code=2))
        self.assertIn("add up to", self.refused("function", "set", "vf1", "--guarantee", "9GB/s"))
        self.assertIn("from 1 to 10000", self.refused("function", "set", "vf1", "--weight", "0"))

    def test_a_reset(self):
        client = self.client(2, 0)
        epoch = self.json("function", "show", "vf1")[0]["epoch"]
        self.assertEqual(self.vinic("function", "reset", "vf1"), f"reset vf1: epoch {epoch + 1}\n")
        self.assertTrue(client.has_hung_up())
        self.assertEqual(self.json("function", "reset", "vf1")[0]["epoch"], epoch + 2)

    def test_one_goes_and_comes(self):
        client, other = self.client(2, 0), self.client(3, 0)
        self.vinic("function", "set", "vf1", "--weight", "9")
        epoch = self.json("function", "show", "vf1")[0]["epoch"]
        self.assertEqual(self.vinic("function", "remove", "vf1"), "removed vf1\n")
        self.assertTrue(client.has_hung_up())
        self.assertEqual(list(self.rows(self.vinic("function", "show"))), ["pf", "vf0", "vf2"])
        self.assertEqual([f["name"] for f in self.json("function", "show")], ["pf", "vf0", "vf2"])
        for words in (("show", "vf1"), ("set", "vf1", "--weight", "2"), ("reset", "vf1"), ("remove", "vf1")):
            self.assertIn("vf1 was removed: `vinic function add vf1` brings it back",
                          self.refused("function", *words))
        late = self.connect()
        self.assertNotEqual(late.attach(2)[0], 0)
        self.assertIn("was removed", late.why)
        self.assertEqual(self.vinic("function", "add", "vf1"), f"added vf1: epoch {epoch + 1}\n")
        self.assertEqual(self.json("function", "show", "vf1")[0]["weight"], 1)
        self.client(2, 0)
        self.assertEqual(self.json("function", "show", "vf2")[0]["contexts"], 1)
        other.close()
        self.assertIn("there already", self.refused("function", "add", "vf1"))
        self.assertIn("PF cannot", self.refused("function", "remove", "pf"))
        self.assertIn("there is no function 'vf9'", self.refused("function", "add", "vf9"))
        self.assertEqual(self.json("function", "remove", "vf1"), [{"name": "vf1", "removed": True}])

    @house.needs_real
    def test_vectors(self):
        closed = {"masked": False, "pending": 0, "count": 0, "period_ns": 0}
        self.assertEqual(self.json("function", "show", "vf1")[0]["vectors"], [closed] * 4)
        text = self.vinic("function", "show", "vf1", "-d")
        self.assertIn("Vectors of vf1:\n    0: open, 0 pending, wakes at once\n", text)
        self.assertIn("MSI-X: Enable+ Count=4 Masked-", text)
        self.start("--functions", "1", "--vectors", "9", "--socket", self.path + "9", path=False)
        other = json.loads(self.vinic("function", "show", "pf", "-j", device="vinicd:" + self.path + "9"))
        self.assertEqual(len(other["functions"][0]["vectors"]), 9)

    def test_registers_are_written_as_setpci_does(self):
        def registers(*words):
            shown = self.json("function", "config", "vf1", *words)[0]
            return {r["name"]: r["value"] for r in shown["registers"]}
        text = self.vinic("function", "config", "vf1")
        self.assertIn("Configuration space of vf1:", text)
        self.assertNotIn("\\x", text, "tabs indent as lspci's do")
        epoch = self.json("function", "show", "vf1")[0]["epoch"]
        client = self.client(2, 0)
        if house.REAL:
            self.assertEqual(registers()["command.bus_master"], 1)
            self.assertEqual(registers("--write", "4.w=0")["command.bus_master"], 0)
            self.assertEqual(registers("--write", "0x4.w=0x4", "--write", "0x82.w=0x8000")["command.bus_master"], 1)
            self.assertEqual(self.json("function", "show", "vf1")[0]["contexts"], 1)
            self.vinic("function", "config", "vf1", "--write", "0x48.w=0x8000")  # function-level reset
            self.assertTrue(client.has_hung_up())
            self.assertEqual(self.json("function", "show", "vf1")[0]["epoch"], epoch + 1)
            self.assertEqual(registers()["command.bus_master"], 0)
        for typed in ("4", "x=1", "4.q=1", "4.w=", "=1", "4.w=0x1ffffffff"):
            self.assertIn("is no write", self.refused("function", "config", "vf1", "--write", typed, code=2))
        for typed in ("4096=0", "3.w=0", "4.b=256", "2=0"):
            self.assertIn("a write has an offset below 4096",
                          self.refused("function", "config", "vf1", "--write", "4.w=4", "--write", typed))
        if house.REAL:
            self.assertEqual(registers()["command.bus_master"], 0, "one wrong write, and none is done")

    def test_details(self):
        text = self.vinic("function", "show", "vf1", "-d")
        for word in ("vis_max 4096", "window_bytes 536870912", "doorbells ", "Configuration space of vf1:"):
            self.assertIn(word, text)
        space = self.json("function", "show", "vf1", "-d")[0]["configuration_space"]
        self.assertEqual(len(bytes.fromhex(space["bytes"])), 4096)
        if house.REAL:
            pf = self.json("function", "show", "pf", "-d")[0]["configuration_space"]
            registers = {r["name"]: r["value"] for r in pf["registers"]}
            self.assertEqual((registers["sriov.vfs_total"], registers["sriov.vfs"], registers["sriov.enabled"]),
                             (3, 3, 1))
            self.assertEqual(space["routing_id"] - pf["routing_id"], registers["sriov.first_vf_offset"] +
                             registers["sriov.vf_stride"])
            self.assertIn("Single Root I/O Virtualization", self.vinic("function", "show", "pf", "-d"))

    def test_words_may_be_shortened(self):
        self.assertEqual(self.vinic("func"), self.vinic("function", "show"))

    def test_nobody_listens(self):
        nowhere = "vinicd:" + os.path.join(self.directory, "nowhere")
        for command in (["function", "show"], ["function", "reset", "vf0"], ["top"], ["monitor"]):
            self.assertIn("no vinicd listens there", self.refused(*command, device=nowhere))
            self.assertIn("write vinicd:PATH", self.refused(*command, device="shm:demo", code=2))
        self.assertEqual(self.daemon.end(), 0)
        self.assertIn("no vinicd listens there", self.refused("function", "show"))

    def test_the_device_itself(self):
        def device(*arguments):
            done = subprocess.run([house.VINIC, "device", "show", self.device, *arguments], capture_output=True,
                                  text=True, timeout=house.PATIENCE_SECONDS, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            return done.stdout
        self.assertEqual(self.rows(device())[self.device]["FUNCTIONS"], "4")
        shown = json.loads(device("-j"))["devices"][0]
        self.assertEqual((shown["process_id"], shown["functions"], shown["state"]), (self.daemon.pid, 4, "live"))
        self.assertIn("idle_spin_ns 50000", device("-d"))

    def test_commands_for_device_files_say_where_to_look(self):
        for words in (["vi", "show"], ["process", "show"], ["counter", "show"], ["cq", "show"], ["region", "show"],
                      ["name", "show"], ["device", "remove"]):
            done = subprocess.run([house.VINIC, *words, self.device], capture_output=True, text=True, check=False,
                                  timeout=house.PATIENCE_SECONDS)
            self.assertEqual(done.returncode, 1, words)
            self.assertIn("vinic function show --device " + self.device, done.stdout + done.stderr, words)

    def test_doctor_asks_a_vinicd(self):
        def doctor(device):
            return subprocess.run([house.VINIC, "doctor", device], capture_output=True, text=True, check=False,
                                  timeout=house.PATIENCE_SECONDS).stdout
        self.assertRegex(doctor(self.device), "ok +device +" + self.device + " is served")
        self.assertRegex(doctor(self.device + ".gone"), "fail +device")

    def test_monitor_of_a_function_that_is_not_there_is_refused(self):
        done = self.run_vinic("monitor", "vf99")
        self.assertEqual(done.returncode, 1)
        self.assertIn("there is no function 'vf99'", done.stderr)

    def test_top_in_lines(self):
        text = self.vinic("top", "-b", "-n", "2", "-i", "0.05")
        tables = text.split("\n\n")
        self.assertEqual(len(tables), 2)
        for table in tables:
            self.assertEqual(" ".join(table.splitlines()[0].split()), TOP_HEADINGS)
            self.assertEqual(list(self.rows(table)), ["pf", "vf0", "vf1", "vf2"])
        # Without a terminal it does the same.
        self.assertEqual(len(self.vinic("top", "-n", "1", "-i", "0.05").splitlines()), 5)

    def start_vinic(self, *arguments, **options):
        process = subprocess.Popen([house.VINIC, *arguments, "--device", self.device], text=True,
                                   **{"stdout": subprocess.PIPE, **options})
        for end in (process.wait, process.kill, process.stdout.close if process.stdout else lambda: None):
            self.addCleanup(end)
        return process

    @house.needs_double
    def test_top_shows_what_moved(self):
        top = self.start_vinic("top", "-j", "-i", "0.2", "-n", "1000")
        json.loads(top.stdout.readline())
        self.client(2, 0)
        moved = dict.fromkeys(("tx_messages", "tx_bytes", "rx_messages", "rx_bytes", "drops"), 0.0)
        while moved["tx_messages"] == 0:
            line = json.loads(top.stdout.readline())
            vf1 = line["functions"][2]
            for key in moved:
                moved[key] += vf1[key + "_per_second"] * line["elapsed_seconds"]
        self.assertEqual({key: round(value) for key, value in moved.items()},
                         {"tx_messages": 10, "tx_bytes": 1000, "rx_messages": 7, "rx_bytes": 700, "drops": 3})
        self.assertAlmostEqual(vf1["engine_percent"] * line["elapsed_seconds"] / 100, 0.123456789, places=6)
        self.assertEqual(line["functions"][1]["tx_messages_per_second"], 0)
        self.assertEqual(vf1["contexts"], 1)

    def test_top_on_a_terminal(self):
        terminal, other = pty.openpty()
        self.addCleanup(os.close, terminal)
        top = self.start_vinic("top", "-i", "0.05", stdin=other, stdout=other)
        os.close(other)
        seen = ""

        def see(word):
            nonlocal seen
            deadline = time.monotonic() + house.PATIENCE_SECONDS
            while word not in seen:
                self.assertLess(time.monotonic(), deadline, seen)
                if select.select([terminal], [], [], 1)[0]:
                    seen += os.read(terminal, 65536).decode()
        see("TX-MSGS/S")
        self.assertIn("\x1b[?1049h", seen)
        seen = ""
        os.write(terminal, b"s")
        see("by messages")
        os.write(terminal, b"p")
        see("paused")
        os.write(terminal, b"q")
        see("\x1b[?1049l")
        self.assertEqual(top.wait(house.PATIENCE_SECONDS), 0)

    def monitor(self, *arguments, **options):
        process = self.start_vinic("monitor", *arguments, **options)
        self.eventually(lambda: self.connect().ask(command="device")["monitors"], 1)
        return process

    def test_events_as_lines(self):
        monitor = self.monitor("-n", "2")
        self.vinic("function", "reset", "vf1")
        self.vinic("function", "set", "vf2", "--weight", "3")
        text, _ = monitor.communicate(timeout=house.PATIENCE_SECONDS)
        self.assertRegex(text, r"^\d+\.\d{6} vf1 reset.*\n\d+\.\d{6} vf2 changed.*\n$")
        self.assertEqual(monitor.returncode, 0)

    def test_events_as_json_of_one_function(self):
        monitor = self.monitor("vf2", "-j", "-n", "1")
        self.client(1, 0)
        self.client(3, 7)
        event = json.loads(monitor.stdout.readline())
        self.assertEqual((event["event"], event["function"], event["context"], event["process_id"], event["lost"]),
                         ("attached", "vf2", 7, os.getpid(), 0))
        self.assertEqual(monitor.wait(house.PATIENCE_SECONDS), 0)

    def test_a_monitor_says_when_the_device_has_gone(self):
        monitor = self.monitor(stderr=subprocess.PIPE)
        self.daemon.end()
        _, said = monitor.communicate(timeout=house.PATIENCE_SECONDS)
        self.assertEqual((monitor.returncode, said), (1, f"vinic: {self.device} has ended, or hung up\n"))

    def test_the_pages_show_the_headings_of_today(self):
        with open(os.path.join(HERE, "..", "..", "docs", "vinicd.md"), encoding="utf-8") as file:
            page = re.sub(" +", " ", file.read())
        self.assertIn(HEADINGS, page)
        self.assertIn(TOP_HEADINGS, page)
        for counter in self.function("vf0")["counters"]:
            self.assertIn(f"`{counter}`", page)


class HostileServer(house.Case):
    """Something that speaks as vinicd does, and puts escape sequences into its words."""

    def serve(self, *replies):
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(listening.close)
        listening.bind(self.path)
        listening.listen()

        def answer():
            connection, _ = listening.accept()
            with connection:
                for reply in replies:
                    connection.recv(4096)
                    for packet in reply if isinstance(reply, list) else [reply]:
                        connection.send(packet if isinstance(packet, bytes) else json.dumps(packet).encode())
                connection.recv(4096)
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        self.addCleanup(thread.join, house.PATIENCE_SECONDS)

    def shown(self, *arguments):
        done = subprocess.run([house.VINIC, *arguments, "--device", "vinicd:" + self.path], capture_output=True,
                              timeout=house.PATIENCE_SECONDS, check=False)
        text = (done.stdout + done.stderr).decode()
        self.assertEqual([c for c in text if c != "\n" and (c < " " or "\x7f" <= c < "\xa0")], [], text)
        return text

    EVIL = "\x1b]0;owned\x07 \x9b31m \x7f \r \u202e \\x1b"
    SEEN = "\\x1b]0;owned\\x07 \\xc2\\x9b31m \\x7f \\x0d \\xe2\\x80\\xae \\x5cx1b"

    def test_refusals(self):
        self.serve({"schema": 1, "error": {"code": "invalid_state", "message": self.EVIL}})
        self.assertIn(self.SEEN, self.shown("function", "show"))

    def test_values_as_text_and_as_json(self):
        for option in ([], ["-j"]):
            self.serve({"schema": 1, "name": self.EVIL, "owner": self.EVIL, "counters": {self.EVIL: 1}})
            self.assertIn("owned", self.shown("function", "show", "vf0", *option))
            os.unlink(self.path)

    def test_events(self):
        event = {"event": self.EVIL, "function": self.EVIL, "time_ns": 1, "text": self.EVIL, "lost": 0}
        self.serve([{"schema": 1, "monitor": True}, event])
        self.assertIn(self.SEEN, self.shown("monitor", "-n", "1"))

    def test_a_monitor_that_is_hung_up_on_says_why(self):
        self.serve([{"schema": 1, "monitor": True},
                    {"schema": 1, "error": {"code": "limit_reached", "message": "no place " + self.EVIL}}])
        self.assertEqual(self.shown("monitor", "-n", "1"), "vinic: no place " + self.SEEN + "\n")

    def test_a_reply_that_nests_deeply(self):
        self.serve(b'{"functions":' + b"[" * 30000 + b"]" * 30000 + b"}")
        self.assertIn("was given to this user", self.shown("function", "show"))


if __name__ == "__main__":
    house.main(sys.argv)
