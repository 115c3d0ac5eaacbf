#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who pays for the pages of a window, as the kernel's control groups see it.

    charge_test.py FOLDER_OF_HOUSE VINICD BENCH_ISOLATION [unittest's options]

The hog of the isolation matrix (A18) has the device make every page that it may, leaves, keeps the descriptor, and
comes back.  vinicd, in a group whose limit is a little above what its functions may hold, lives.
"""
import os
import pathlib
import subprocess
import sys
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])

import house  # noqa: E402  (found where the tests of vinicd are)

MIB = 1 << 20
LIMIT = 64 * MIB
GROUP_LIMIT = 192 * MIB


class Group:
    """A memory control group of our own, of version 2 or 1."""

    def __init__(self, name):
        name = f"vinic-charge-{os.getpid()}-{name}"
        v2, v1 = pathlib.Path("/sys/fs/cgroup"), pathlib.Path("/sys/fs/cgroup/memory")
        if (v2 / "cgroup.controllers").exists():
            self.path, self.limit, self.usage = v2 / name, "memory.max", "memory.current"
        else:
            self.path, self.limit, self.usage = v1 / name, "memory.limit_in_bytes", "memory.usage_in_bytes"
        self.path.mkdir()
        if not (self.path / self.limit).exists():
            self.path.rmdir()
            raise OSError("no memory controller")

    def take(self, process_id):
        (self.path / "cgroup.procs").write_text(str(process_id))

    def used(self):
        return int((self.path / self.usage).read_text())

    def remove(self):
        for _ in range(1000):  # what was in it goes by and by
            try:
                self.path.rmdir()
                return
            except OSError:
                time.sleep(0.01)


@house.needs_root
class Charge(house.Case):
    def setUp(self):
        super().setUp()
        try:
            self.device_group, self.tenant_group = Group("device"), Group("tenant")
        except OSError as why:
            self.skipTest(f"control groups of memory cannot be made here: {why}")
        self.addCleanup(self.tenant_group.remove)
        self.addCleanup(self.device_group.remove)
        (self.device_group.path / self.device_group.limit).write_text(str(GROUP_LIMIT))
        config = self.write("vinicd.toml", f'[function.default]\nmemory = "{LIMIT}"\n[function.pf]\nmemory = "16MiB"\n')
        words = ["--socket", self.path, "--config", config, "--functions", "2", "--window", "2GiB", "--violations", "0"]
        self.daemon = house.Daemon(self, words, preexec_fn=lambda: self.device_group.take(os.getpid()))
        self.addCleanup(self.finish, self.daemon)
        self.daemon.wait_until_ready(self)

    def hog(self):
        process = subprocess.Popen([BENCH, "attacker", "A18", self.path, "0", "1"], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True,
                                   preexec_fn=lambda: self.tenant_group.take(os.getpid()))
        self.addCleanup(process.communicate)
        self.assertEqual(process.stdout.readline().strip(), "ready")
        process.stdin.write("go\n")
        process.stdin.flush()
        return process

    def test_the_device_lives_and_holds_what_it_said(self):
        process = self.hog()

        def has_come_back():  # the limit was met, and the window left, so often
            return self.function("vf0")["epoch"] > 6
        deadline = time.monotonic() + house.PATIENCE_SECONDS
        while not has_come_back():
            self.assertLess(time.monotonic(), deadline)
            self.assertLessEqual(self.function("vf0")["memory_bytes"], LIMIT + 8 * MIB)
            self.assertLess(self.device_group.used(), GROUP_LIMIT)
        self.assertGreater(self.function("vf0")["counters"]["memory_refusals"], 0)
        self.assertIsNone(self.daemon.process.poll(), "with it all tenants would be gone")
        process.stdin.close()
        process.stdin = None
        process.wait(house.PATIENCE_SECONDS)
        self.eventually(lambda: self.function("vf0")["memory_bytes"], 0)
        self.assertEqual(self.daemon.end(), 0)

    def test_a_tenant_pays_for_what_it_touches_itself(self):
        alice = self.client(1, 0)
        before = self.device_group.used()
        touching = os.fork()
        if touching == 0:
            self.tenant_group.take(os.getpid())
            os.posix_fallocate(alice.descriptors[0], 512 * MIB, 48 * MIB)
            os._exit(0)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(touching, 0)[1]), 0)
        self.assertGreaterEqual(self.function("vf0")["memory_bytes"], 48 * MIB, "it counts")
        self.assertGreaterEqual(self.tenant_group.used(), 40 * MIB, "and is the tenant's")
        self.assertLess(self.device_group.used() - before, 8 * MIB)
        alice.socket.close()
        self.eventually(lambda: self.function("vf0")["memory_bytes"], 0)
        # A process that touches the old window from now on touches memory of its own.
        os.pwrite(alice.descriptors[0], b"x" * MIB, 512 * MIB)
        self.assertEqual(self.function("vf0")["memory_bytes"], 0)


if __name__ == "__main__":
    house.VINICD, house.REAL = os.path.abspath(sys.argv[2]), True
    BENCH = os.path.abspath(sys.argv[3])
    unittest.main(argv=sys.argv[:1] + sys.argv[4:])
