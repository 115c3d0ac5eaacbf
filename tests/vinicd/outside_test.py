#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What is around vinicd stands still, is slow, or goes: whoever reads its log, its service manager, scrapers, files."""
import fcntl
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import unittest

import house

F_SETPIPE_SZ = 1031


class Log(house.Case):
    def start_with_pipe(self, *arguments):
        """(vinicd, the pipe's end to read from, its other end)"""
        reader, writer = os.pipe()
        fcntl.fcntl(writer, F_SETPIPE_SZ, 4096)
        self.addCleanup(os.close, writer)
        daemon = self.start(*arguments, stderr=writer)
        return daemon, reader, writer

    def fill(self, writer):
        os.set_blocking(writer, False)
        try:
            while True:
                os.write(writer, b"x")
        except BlockingIOError:
            pass
        os.set_blocking(writer, True)

    def change_often(self, times):
        connection = self.connect()
        for i in range(times):
            self.assertEqual(connection.ask(command="set", function="vf0", weight=1 + i % 100)["weight"], 1 + i % 100)

    def test_its_reader_goes(self):
        daemon, reader, _ = self.start_with_pipe()
        os.close(reader)
        self.change_often(20)
        self.client(1, 0)
        self.assertEqual(daemon.end(), 0)

    def test_its_reader_stands_still(self):
        path = self.write("c.toml", "[function.vf1]\nweight = 3\n")
        for end in ((signal.SIGTERM,), (signal.SIGHUP, signal.SIGTERM)):
            daemon, reader, writer = self.start_with_pipe("--config", path)
            flags = fcntl.fcntl(writer, fcntl.F_GETFL)
            self.fill(writer)
            self.change_often(1000)
            self.client(1, 0).close()
            for number in end:
                daemon.send(number)
            self.assertEqual(daemon.process.wait(house.PATIENCE_SECONDS), 0)
            self.assertEqual(fcntl.fcntl(writer, fcntl.F_GETFL), flags)
            os.close(reader)

    def test_its_reader_comes_back_and_is_told_what_is_missing(self):
        daemon, reader, _ = self.start_with_pipe()
        self.change_often(6000)
        text, done = [], threading.Event()

        def read():
            while piece := os.read(reader, 65536):
                text.append(piece)
                if b"lines are missing here" in b"".join(text[-2:]):
                    done.set()
        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        self.assertTrue(done.wait(house.PATIENCE_SECONDS))
        self.change_often(1)
        self.assertEqual(daemon.end(), 0)

    def test_a_start_that_fails_ends_although_nobody_reads_why(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
            other.bind(self.path)
            other.listen()
            reader, writer = os.pipe()
            self.addCleanup(os.close, reader)
            self.addCleanup(os.close, writer)
            self.fill(writer)
            daemon = self.start(ready=False, stderr=writer)
            self.assertEqual(daemon.process.wait(house.PATIENCE_SECONDS), 1)

    def test_it_was_started_without_standard_files(self):
        for closed in ("2>&-", "0<&- 1>&- 2>&-"):
            process = subprocess.Popen(["sh", "-c", f'exec "$0" --window 512MiB --socket "$1" {closed}',
                                        house.VINICD, self.path])
            self.addCleanup(process.wait)
            self.addCleanup(process.kill)
            self.eventually(lambda: os.path.exists(self.path), True)
            self.assertEqual(os.readlink(f"/proc/{process.pid}/fd/2"), "/dev/null")
            self.assertIn("functions", self.connect().ask(command="functions"))
            process.terminate()
            self.assertEqual(process.wait(house.PATIENCE_SECONDS), 0)


class ServiceManager(house.Case):
    def fill(self, path):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            try:
                while True:
                    other.sendto(b"noise", path)
            except BlockingIOError:
                pass

    def test_it_does_not_read_for_a_while(self):
        where = os.path.join(self.directory, "manager")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(where)
            manager.settimeout(house.PATIENCE_SECONDS)

            def next_word():
                while (word := manager.recv(4096)) == b"noise":
                    pass
                return word
            self.fill(where)
            daemon = self.start("--config", self.write("c.toml", ""), ready=False,
                                environment={"NOTIFY_SOCKET": where, "WATCHDOG_USEC": "20000"})
            self.eventually(lambda: os.path.exists(self.path), True)
            self.assertIn("functions", self.connect().ask(command="functions"))
            # It is told in the end, and in order.
            words = [next_word()]
            while words[-1] == b"WATCHDOG=1":
                words.append(next_word())
            self.assertEqual(words[-1], b"READY=1")
            self.fill(where)
            daemon.send(signal.SIGHUP)
            self.assertIn("functions", self.connect().ask(command="functions"))
            self.assertEqual(daemon.end(), 0)


class Scrapers(house.Case):
    def test_they_stall(self):
        path = os.path.join(self.directory, "metrics")
        daemon = self.start("--functions", "64", "--openmetrics", path)
        stalled = []
        for i in range(48):
            connection = socket.socket(socket.AF_UNIX)
            self.addCleanup(connection.close)
            connection.settimeout(house.PATIENCE_SECONDS)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            connection.connect(path)
            connection.sendall(b"GET /metrics HTTP/1.1\r\n\r\n" if i % 2 else b"GET /met")
            stalled.append(connection)
        self.assertIn("functions", self.connect().ask(command="functions"))
        self.assertTrue(house.scrape(path).endswith(b"# EOF\n"))
        self.assertLess(len(os.listdir(f"/proc/{daemon.pid}/fd")), 64 * 3 + 16 + 64)
        self.assertEqual(daemon.end(), 0)

    def test_many_pages_take_a_small_part_of_its_time(self):
        path = os.path.join(self.directory, "metrics")
        daemon = self.start("--functions", "256", "--openmetrics", path)
        for _ in range(10):
            self.assertTrue(house.scrape(path).endswith(b"# EOF\n"))
        self.assertIn("functions", self.connect().ask(command="functions"))
        self.assertEqual(daemon.end(), 0)


class Places(house.Case):
    """Where sockets are made."""

    def test_the_mode_is_there_from_the_beginning_whatever_the_umask(self):
        for umask in (0o000, 0o077, 0o777):
            daemon = self.start("--mode", "0624", umask=umask)
            self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o624)
            self.assertEqual(daemon.end(), 0)

    @unittest.skipUnless(shutil.which("objdump"), "objdump is not installed")
    def test_nothing_is_done_by_name_that_a_link_could_lead_elsewhere(self):
        imported = subprocess.run(["objdump", "-T", house.VINICD], capture_output=True, text=True, check=True).stdout
        names = {line.split()[-1] for line in imported.splitlines() if "*UND*" in line}
        self.assertIn("fchmod", names)
        self.assertEqual(names & {"chmod", "chown", "lchown", "fchmodat", "truncate", "mktemp", "system"}, set())

    def test_links_in_the_place_of_sockets_are_not_followed(self):
        precious = self.write("precious", "words")
        os.chmod(precious, 0o640)
        os.symlink(precious, self.path)
        self.assertIn("is no socket", self.refused("--mode", "0666"))
        os.unlink(self.path)
        os.symlink(precious, self.path + ".new")  # as one that was killed would leave it
        self.start("--mode", "0666").end()
        os.symlink(precious, self.path + ".lock")
        self.assertIn("making " + self.path + ".lock", self.refused("--mode", "0666"))
        self.assertEqual(stat.S_IMODE(os.stat(precious).st_mode), 0o640)
        with open(precious, encoding="utf-8") as file:
            self.assertEqual(file.read(), "words")

    def test_a_directory_that_others_write_to_is_warned_of(self):
        warning = "put a socket of their own in the place of"
        for mode, warned in ((0o700, False), (0o755, False), (0o1777, False), (0o777, True), (0o775, True)):
            os.chmod(self.directory, mode)
            daemon = self.start()
            self.assertEqual(daemon.end(), 0)
            self.assertEqual(warning in daemon.log(), warned, oct(mode))


class Descriptors(house.Case):
    """Who reads a packet closes what came with it, which may take as long as the sender likes."""

    def test_none_is_let_through(self):
        self.start()
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        connection = self.connect()
        try:
            socket.send_fds(connection.socket, [b'{"command":"functions"}'], [near.fileno()])
        except PermissionError:
            pass
        else:
            self.skipTest("this kernel is older than Linux 6.16 and lets descriptors through")
        self.assertIn("pf", connection.ask(command="functions")["functions"])
        self.client(1, 0).close()  # and vinicd gives its own away


if __name__ == "__main__":
    house.main(sys.argv)
