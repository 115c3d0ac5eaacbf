#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Connections to vinicd by the thousand, halves of them, and a vinicd that runs out of files.

    torture_socket_test.py HOUSE VINICD real VINIC

HOUSE is the directory of house.py, which the tests of vinicd share.
"""
import os
import random
import resource
import signal
import socket
import sys
import threading
import time
import unittest

sys.path.insert(0, sys.argv.pop(1))

import house  # noqa: E402  it lies where the line above says

OK, PERMISSION_DENIED, LIMIT_REACHED, BUSY = 0, 4, 7, 9
LONG = bool(os.environ.get("VINIC_LONG"))


class Sockets(house.Case):
    def descriptors(self, daemon):
        return len(os.listdir(f"/proc/{daemon.pid}/fd"))

    def serves(self):
        """Whether somebody who behaves is served now."""
        client = house.Connection(self.path)
        try:
            return client.attach(2)[0] == OK and client.enter(0)[0] == OK
        except (OSError, IndexError, ValueError):
            return False
        finally:
            client.close()

    def expect_as_before(self, daemon, before):
        self.eventually(self.serves, True)
        self.eventually(lambda: self.descriptors(daemon) <= before, True)
        for function in ("vf0", "vf1"):
            self.eventually(lambda name=function: self.function(name)["contexts"], 0)
        self.assertIsNone(daemon.process.poll(), daemon.log())
        self.assertEqual(daemon.end(), 0, daemon.log())

    def test_thousands_that_stop_anywhere(self):
        daemon = self.start()
        self.assertTrue(self.serves())
        time.sleep(0.1)
        before = self.descriptors(daemon)
        seed = int(os.environ.get("VINIC_SEED", random.randrange(2 ** 32)))
        print("VINIC_SEED =", seed)
        chance = random.Random(seed)
        kept = []
        for _ in range(50_000 if LONG else 1500):
            try:
                connection = house.Connection(self.path)
                for packet in chance.choice((
                        [], [house.attach_packet(1)], [house.attach_packet(1)[:10]],
                        [house.attach_packet(1), house.enter_packet(chance.randrange(70))],
                        [house.attach_packet(1), house.enter_packet(0)[:5]],
                        [house.attach_packet(300)], [b'{"command":"fun'], [b'{"command":"functions"}'] * 3)):
                    connection.send(packet)
                    if chance.randrange(3) == 0:
                        connection.socket.settimeout(0.05)
                        _, connection.descriptors, _, _ = socket.recv_fds(connection.socket, 4096, 8)
            except (BrokenPipeError, ConnectionResetError, TimeoutError):
                pass
            if chance.randrange(20) == 0:
                kept.append(connection)
            else:
                connection.close()
            if len(kept) > 100:
                kept.pop(chance.randrange(len(kept))).close()
        for connection in kept:
            connection.close()
        self.expect_as_before(daemon, before)

    def test_many_at_once_from_many_threads(self):
        daemon = self.start()
        self.assertTrue(self.serves())
        time.sleep(0.1)
        before = self.descriptors(daemon)
        codes = set()

        def come_and_go():
            for i in range(60):
                connection = house.Connection(self.path)
                try:
                    code = connection.attach(1)[0]
                    codes.add(code)
                    if code == OK:
                        codes.add(connection.enter(i % 8)[0])
                except (OSError, IndexError):
                    codes.add("hung up")
                connection.close()
        threads = [threading.Thread(target=come_and_go) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertLessEqual(codes, {OK, BUSY, LIMIT_REACHED}, "each is served or told why not")
        self.assertIn(OK, codes)
        self.expect_as_before(daemon, before)

    def test_descriptors_that_are_passed_stay_with_nobody(self):
        daemon = self.start()
        before = self.descriptors(daemon)
        left, right = socket.socketpair()
        connections = []
        for packet in (house.attach_packet(1), b"x", house.attach_packet(1)[:3]):
            for _ in range(30):
                connection = house.Connection(self.path)
                house.send_with_descriptors(connection, packet, [left.fileno()] * 50)
                connections.append(connection)
        left.close()
        right.settimeout(house.PATIENCE_SECONDS)
        for connection in connections:
            connection.close()
        self.assertEqual(right.recv(1), b"", "nobody holds the other end any more")
        right.close()
        self.expect_as_before(daemon, before)

    def test_a_client_that_never_reads_holds_nobody_up(self):
        daemon = self.start()
        silent = self.connect()
        silent.send(house.attach_packet(1))
        silent.socket.setblocking(False)
        sent = 0
        try:
            while sent < 100_000:
                silent.send(house.enter_packet(1000))  # each is refused in a packet that nobody takes
                sent += 1
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            pass
        self.assertLess(sent, 100_000)
        self.assertTrue(self.serves())
        self.assertIsNone(daemon.process.poll(), daemon.log())

    def test_a_stopped_vinicd_goes_on_with_what_waits(self):
        daemon = self.start()
        daemon.send(signal.SIGSTOP)
        waiting = [self.connect() for _ in range(20)]
        for connection in waiting:
            connection.send(house.attach_packet(1))
        gone = [self.connect() for _ in range(20)]
        for connection in gone:
            connection.send(house.attach_packet(1))
            connection.close()
        daemon.send(signal.SIGCONT)
        for context, connection in enumerate(waiting):
            code, connection.descriptors = connection.receive()[:4], []
            self.assertEqual(int.from_bytes(code, "little"), OK)
            self.assertEqual(connection.enter(context)[0], OK)
        self.assertEqual(self.function("vf0")["contexts"], 20)


@unittest.skipIf("VINIC_SANITIZED" in os.environ, "the sanitizer's own checks need files, and find fault without them")
class Files(house.Case):
    def start_with(self, limit):
        def lower():
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        return self.start("--functions", "2", preexec_fn=lower)

    def test_a_vinicd_without_files_says_so_and_goes_on_when_there_are_some(self):
        daemon = self.start_with(64)
        self.assertIn("raise it (ulimit -Hn, LimitNOFILE=)", daemon.log())
        held = []
        codes = set()
        for _ in range(100):
            connection = house.Connection(self.path)
            connection.socket.settimeout(0.3)
            held.append(connection)
            try:
                codes.add(connection.attach(1)[0])
            except (TimeoutError, OSError, IndexError):
                codes.add("no answer")
            if len(held) > 60:
                break
        self.assertIn(OK, codes)
        self.assertLessEqual(codes, {OK, LIMIT_REACHED, BUSY, "no answer"})
        self.assertIsNone(daemon.process.poll(), daemon.log())
        for connection in held:
            connection.close()
        client = None

        def served():
            nonlocal client
            client = house.Connection(self.path)
            try:
                done = client.attach(1)[0] == OK and client.enter(0)[0] == OK
            except (OSError, IndexError):
                done = False
            if not done:
                client.close()
            return done
        self.eventually(served, True)
        client.close()
        # A function that was used is made anew for the next one, which takes files, too.
        self.eventually(served, True)
        client.close()
        self.assertEqual(daemon.end(), 0, daemon.log())

    def test_too_few_files_to_begin_with(self):
        def lower():
            resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12))
        daemon = self.start("--functions", "8", ready=False, preexec_fn=lower)
        self.assertEqual(daemon.process.wait(house.PATIENCE_SECONDS), 1, daemon.log())
        self.assertRegex(daemon.log(), r"(?m)^vinicd: .*ulimit -n.*Too many open files")


if __name__ == "__main__":
    house.main(sys.argv)
