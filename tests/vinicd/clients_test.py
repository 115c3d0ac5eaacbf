#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What connects to vinicd: clients, and those that send nonsense or too much."""
import fcntl
import json
import os
import random
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import time

import house

OK, UNKNOWN_ADDRESS, PERMISSION_DENIED, VERSION_MISMATCH, LIMIT_REACHED, BUSY = 0, 3, 4, 5, 7, 9
INVALID_ARGUMENT = 1


class Clients(house.Case):
    def test_a_function_is_attached_and_a_context_entered(self):
        daemon = self.start("--functions", "3")
        client = self.connect()
        code, version, function, epoch, window_bytes, process, foreign = client.attach(2)
        self.assertEqual((code, version, function, window_bytes, process, foreign),
                         (OK, house.VERSION, 2, 512 << 20, daemon.pid, 1))
        self.assertGreater(epoch, 0)
        self.assertEqual(len(client.descriptors), 3)
        self.assertEqual(os.fstat(client.descriptors[0]).st_size, window_bytes)
        code, context_epoch = client.enter(5)
        self.assertEqual(code, OK)
        self.assertGreater(context_epoch, 0)
        self.assertEqual(self.function("vf1")["contexts"], 1)
        client.close()
        self.eventually(lambda: self.function("vf1")["contexts"], 0)

    @house.needs_real
    def test_a_window_is_never_a_program(self):
        self.start()
        client = self.client(1, 0)
        window = client.descriptors[0]
        self.assertEqual(stat.S_IMODE(os.fstat(window).st_mode), 0o666)
        f_get_seals, exec_sealed = 1034, 0x20
        if tuple(int(n) for n in os.uname().release.split(".")[:2]) >= (6, 3):
            self.assertTrue(fcntl.fcntl(window, f_get_seals) & exec_sealed)
        with self.assertRaises(OSError):
            os.execve(window, ["window"], {})

    def test_a_context_in_use_is_busy_and_another_one_is_not(self):
        self.start()
        self.client(1, 0)
        other = self.attached(1)
        self.assertEqual(other.enter(0)[0], BUSY)
        self.assertEqual(other.enter(1)[0], OK)

    def test_a_context_beyond_the_last(self):
        self.start("--contexts", "4")
        client = self.attached(1)
        for context in (4, 64, 2 ** 32 - 1):
            self.assertEqual(client.enter(context)[0], INVALID_ARGUMENT)
        self.assertEqual(client.enter(3)[0], OK)

    def test_refusals_come_without_descriptors(self):
        self.start("--functions", "2")
        has = "this device has pf and vf0 to vf1"
        for function, wrong, code, why in (
                (3, {}, UNKNOWN_ADDRESS, "there is no function 'vf2': " + has),
                (2 ** 32 - 1, {}, UNKNOWN_ADDRESS, "there is no function 'vf4294967294': " + has),
                (1, {"version": 99}, VERSION_MISMATCH, "the device and the library are of different versions")):
            client = self.connect()
            reply = client.attach(function, **wrong)
            self.assertEqual((reply[0], reply[1], client.why), (code, house.VERSION, why))
            self.assertEqual(client.descriptors, [])
            self.assertTrue(client.has_hung_up())

    def test_a_function_that_is_switched_off(self):
        self.start("--config", self.write("c.toml", "[function.vf0]\nenabled = false\n"))
        client = self.connect()
        self.assertEqual(client.attach(1)[0], PERMISSION_DENIED)
        self.assertEqual(client.why, "function vf0 is disabled by the device's configuration")
        self.assertEqual(self.connect().attach(2)[0], OK)

    def monitor(self):
        monitor = self.connect()
        self.assertTrue(monitor.ask(command="monitor")["monitor"])
        return monitor

    def events(self, monitor, *wanted):
        """Waits for events of these kinds, in this order."""
        wanted = list(wanted)
        while wanted:
            event = json.loads(monitor.receive())
            if event["event"] == wanted[0]:
                wanted.pop(0)
        return event

    def test_who_says_so_leaves_and_who_hangs_up_has_died(self):
        self.start()
        monitor = self.monitor()
        client = self.client(1, 0)
        self.events(monitor, "attached")
        client.send(house.enter_packet(0, kind=3))
        self.events(monitor, "detached")
        client.close()
        self.client(1, 0).close()
        self.events(monitor, "attached", "died")
        program = (f"import sys; sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r})\n"
                   f"from house import *; c = client({self.path!r}, 1, 0)\n"
                   "print('entered', flush=True); sys.stdin.read(); os._exit(0)")
        for end in (signal.SIGKILL, None):
            victim = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      text=True)
            self.addCleanup(victim.stdout.close)
            self.addCleanup(victim.wait)
            self.addCleanup(victim.kill)
            self.assertEqual(victim.stdout.readline(), "entered\n")
            self.events(monitor, "attached")
            if end is not None:
                victim.send_signal(end)
            victim.stdin.close()  # without a signal it ends by itself, with the context still entered
            self.events(monitor, "died")
            victim.wait(house.PATIENCE_SECONDS)

    def test_a_forked_child_does_not_keep_a_dead_client_alive(self):
        self.start()
        monitor = self.monitor()
        program = (f"import sys; sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r})\n"
                   f"from house import *; c = client({self.path!r}, 1, 0)\n"
                   "child = os.fork()\n"
                   "if child == 0: sys.stdin.read(); os._exit(0)\n"
                   "print('entered', flush=True); os.kill(os.getpid(), signal.SIGKILL)")
        parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  text=True)
        self.addCleanup(parent.stdout.close)
        self.addCleanup(parent.stdin.close)
        self.events(monitor, "attached", "died")
        parent.wait(house.PATIENCE_SECONDS)
        self.client(1, 0)

    def test_a_reset_cuts_off_who_was_there(self):
        self.start()
        client = self.client(1, 0)
        bystander = self.client(2, 0)
        administrator = self.connect()
        self.assertEqual(administrator.ask(command="reset", function="vf0")["contexts"], 0)
        self.assertTrue(client.has_hung_up())
        self.client(1, 0)
        self.assertEqual(self.function("vf1")["contexts"], 1)
        self.assertEqual(select.select([bystander.socket], [], [], 0)[0], [])

    def test_a_monitor_that_reads_too_slowly_loses_events_and_is_told(self):
        if house.REAL:
            self.skipTest("a real device does not tell so much at once")
        self.start(environment={"VINICD_DOUBLE": "noisy"})
        monitor = self.monitor()
        for context in range(3):
            self.client(1, context)
        administrator = self.connect()
        self.eventually(lambda: administrator.ask(command="device")["lost_events"] > 0, True)
        lost = 0
        monitor.socket.settimeout(1)
        try:
            while True:
                lost += json.loads(monitor.receive())["lost"]
        except TimeoutError:
            pass
        monitor.socket.settimeout(house.PATIENCE_SECONDS)
        self.client(1, 60)
        while lost == 0:
            lost += json.loads(monitor.receive())["lost"]


class Nonsense(house.Case):
    def counted(self):
        return self.connect().ask(command="device")

    def test_packets_that_do_not_fit_end_their_connection_and_are_counted(self):
        self.start()
        packets = [b"x", b"\0" * 24, house.attach_packet(1)[:-1], house.attach_packet(1) + b"x",
                   house.attach_packet(1, magic=1), house.attach_packet(1, kind=2), house.enter_packet(0),
                   b"{" * 5000, b"x" * 5000]
        for packet in packets:
            connection = self.connect()
            connection.send(packet)
            self.assertTrue(connection.has_hung_up(), packet[:10])
        self.assertEqual(self.counted()["malformed_packets"], len(packets))

    def test_steps_out_of_order(self):
        self.start()
        def asking(command):
            connection = self.connect()
            self.assertNotIn("error", connection.ask(command=command))
            return connection
        # The monitor first: it is told what the others do.
        for somebody, packet in ((lambda: asking("monitor"), b'{"command":"functions"}'),
                                 (lambda: asking("functions"), house.attach_packet(1)),
                                 (lambda: self.attached(1), house.attach_packet(1)),
                                 (lambda: self.attached(1), b'{"command":"functions"}'),
                                 (lambda: self.client(1, 0), house.enter_packet(1))):
            who = somebody()
            who.send(packet)
            self.assertTrue(who.has_hung_up(), packet)
        self.assertEqual(self.counted()["malformed_packets"], 5)

    def test_descriptors_that_come_along_are_dropped(self):
        daemon = self.start()
        before = len(os.listdir(f"/proc/{daemon.pid}/fd"))
        connection = self.connect()
        with open("/dev/null", "rb") as file:
            house.send_with_descriptors(connection, b'{"command":"functions"}', [file.fileno()] * 8)
        self.assertIn("functions", json.loads(connection.receive()))
        connection.close()
        self.eventually(lambda: len(os.listdir(f"/proc/{daemon.pid}/fd")) <= before, True)

    def test_random_packets(self):
        daemon = self.start()
        seed = int(os.environ.get("VINIC_SEED", random.randrange(2 ** 32)))
        print("VINIC_SEED =", seed)
        chance = random.Random(seed)
        words = [b'{"command":', b'"set"', b'"function"', b':', b'"vf0"', b',', b'}', b'[', b'"cap"', b'-1', b'1e999',
                 b'"\xff"', b'\\u0000', b'null', b'true', b'18446744073709551616', b'"2GB/s"', b'{']
        for _ in range(2000 if os.environ.get("VINIC_LONG") else 300):
            connection = self.connect()
            kind = chance.randrange(3)
            if kind == 0:
                packet = chance.randbytes(chance.randrange(1, 100))
            elif kind == 1:
                packet = bytearray(house.attach_packet(chance.randrange(12)))
                packet[chance.randrange(len(packet))] ^= 1 << chance.randrange(8)
            else:
                packet = b'{' + b"".join(chance.choice(words) for _ in range(chance.randrange(12)))
            connection.send(bytes(packet))
            connection.receive() if chance.randrange(2) else None
            connection.close()
        self.assertIsNone(daemon.process.poll(), daemon.log())
        self.eventually(lambda: self.counted()["connections"], 1)
        self.assertEqual(daemon.end(), 0)

    def test_who_says_nothing_makes_room(self):
        self.start()
        silent = [self.connect() for _ in range(128)]
        self.assertEqual(self.connect().ask(command="device")["displaced_connections"], 1)
        # The oldest had to go, and is told in the packet that a client knows.
        self.assertEqual(int.from_bytes(silent[0].receive()[:4], "little"), LIMIT_REACHED)
        self.assertEqual(select.select([silent[1].socket], [], [], 0)[0], [])

    def test_who_asks_or_monitors_and_makes_room_is_told_in_its_own_words(self):
        self.start()
        known = [self.connect() for _ in range(2)]
        known[0].ask(command="functions")
        known[1].ask(command="monitor")
        late = [self.connect() for _ in range(128)]
        self.eventually(lambda: late[-1].ask(command="device")["displaced_connections"], 2)
        for connection in known:
            error = json.loads(connection.receive())
            self.assertEqual((error["schema"], error["error"]["code"]), (1, "limit_reached"))
            self.assertIn("was given to a newer connection", error["error"]["message"])
            self.assertTrue(connection.has_hung_up())

    def test_a_function_has_room_for_its_contexts_and_a_few_more(self):
        self.start("--contexts", "2")
        users = [self.client(1, context) for context in range(2)]
        waiting = [self.connect() for _ in range(16)]
        for connection in waiting:
            self.assertEqual(connection.attach(1)[0], OK)
        late = self.connect()
        self.assertEqual(late.attach(1)[0], OK)
        # Who was on the way in longest has made room; who uses a context has not.
        self.assertEqual(struct.unpack("<II", waiting[0].receive())[0], LIMIT_REACHED)
        self.assertTrue(waiting[0].has_hung_up())
        self.assertEqual(select.select([c.socket for c in users + waiting[1:]], [], [], 0)[0], [])
        self.assertEqual(self.connect().attach(2)[0], OK)

    def test_an_administrator_that_does_not_read_is_not_read_from(self):
        daemon = self.start()
        connection = self.connect()
        connection.socket.setblocking(False)
        sent = 0
        try:
            for _ in range(100_000):
                connection.send(b'{"command":"device"}')
                sent += 1
        except BlockingIOError:
            pass
        self.assertLess(sent, 100_000)
        self.assertEqual(len(self.connect().ask(command="functions")["functions"]), 9)
        connection.socket.settimeout(house.PATIENCE_SECONDS)
        for _ in range(sent):
            self.assertIn("functions", json.loads(connection.receive()))
        self.assertIsNone(daemon.process.poll())

    def test_logs_are_not_filled_by_those_who_misbehave(self):
        daemon = self.start()
        for _ in range(500):
            connection = self.connect()
            connection.send(b"x")
            connection.close()
        self.eventually(lambda: self.counted()["malformed_packets"], 500)
        time.sleep(1.1)
        connection = self.connect()
        connection.send(b"x")
        self.assertTrue(connection.has_hung_up())
        self.assertLess(daemon.log().count("hung up on"), 400)
        self.eventually(lambda: "more lines were left out" in daemon.log(), True)


if __name__ == "__main__":
    house.main(sys.argv)
