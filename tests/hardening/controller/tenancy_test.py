#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Memory of a function is one tenant's: whatever way rights change, who may not use it any more is out, and who comes
next gets memory that nobody else maps.

    tenancy_test.py FOLDER_OF_HOUSE VINICD [unittest's options]
"""
import contextlib
import mmap
import os
import signal
import struct
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])

import house  # noqa: E402  (found where the tests of vinicd are)

# Numbers of nobody on this machine: no user is made.
ALICE, BOB, CAROL = 61001, 61002, 61003
STAFF = 61009
AT = 300 << 20  # in a window: payload


@house.needs_root
class Tenancy(house.Case):
    TEXT = f"[function.vf0]\nowner = {ALICE}\n[function.vf1]\nowner = {CAROL}\n"

    def setUp(self):
        super().setUp()
        self.config = self.write("vinicd.toml", self.TEXT)
        self.daemon = self.start("--config", self.config, "--mode", "0666", "--functions", "3")
        self.root = self.connect()

    @contextlib.contextmanager
    def being(self, user, groups=()):
        os.setgroups(list(groups))
        os.setegid(user)
        os.seteuid(user)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups([])

    def attached(self, user, function=1, groups=()):
        """Somebody's connection, with its window mapped."""
        with self.being(user, groups):
            connection = self.connect()
        reply = connection.attach(function)
        self.assertEqual(reply[0], 0, connection.why)
        connection.epoch = reply[3]
        connection.window = mmap.mmap(connection.descriptors[0], reply[4])
        self.addCleanup(connection.window.close)
        return connection

    def entered(self, user, function=1, context=0, groups=()):
        connection = self.attached(user, function, groups)
        self.assertEqual(connection.enter(context)[0], 0)
        return connection

    def is_refused(self, user, function=1, groups=()):
        with self.being(user, groups):
            connection = self.connect()
        return connection.attach(function)[0] != 0

    def is_alive(self, connection):
        """The device serves it, and has not hung up."""
        connection.socket.setblocking(False)
        try:
            connection.socket.recv(1)
        except BlockingIOError:
            connection.socket.settimeout(house.PATIENCE_SECONDS)
            return True
        except ConnectionResetError:
            pass
        return False

    def set(self, **what):
        reply = self.root.ask(command="set", function="vf0", **what)
        self.assertNotIn("error", reply, reply)

    def reload(self, text):
        self.write("vinicd.toml", text)
        self.daemon.send(signal.SIGHUP)
        self.eventually(lambda: "the configuration was read again" in self.daemon.log(), True)

    def new_tenant_is_alone(self, user, old, **how):
        """The next one's window: fresh, and nothing of it is seen in the old one, nor the other way round."""
        old.window[AT:AT + 5] = b"ALICE"
        new = None
        while new is None:  # what was there before is cleared away first
            with self.being(user, **how):
                connection = self.connect()
            code, *_, epoch, size, _, _ = connection.attach(1)
            if code == house.BUSY:
                continue
            self.assertEqual(code, 0, connection.why)
            self.assertNotEqual(epoch, old.epoch)
            new = connection
        new.window = mmap.mmap(new.descriptors[0], size)
        self.addCleanup(new.window.close)
        self.assertEqual(new.enter(0)[0], 0)
        self.assertNotEqual(os.fstat(new.descriptors[0]).st_ino, os.fstat(old.descriptors[0]).st_ino)
        self.assertEqual(new.window[AT:AT + 8], bytes(8))
        new.window[AT:AT + 6] = b"SECRET"
        self.assertNotIn(b"SECRET", old.window[AT:AT + 8])
        old.window[AT:AT + 5] = b"ALICE"
        self.assertEqual(new.window[AT:AT + 6], b"SECRET")
        return new

    def bystander(self):
        carol = self.entered(CAROL, 2)
        epoch = self.function("vf1")["epoch"]

        def is_undisturbed():
            self.assertTrue(self.is_alive(carol))
            self.assertEqual(self.function("vf1")["epoch"], epoch)
            self.assertEqual(self.function("vf1")["contexts"], 1)
        return is_undisturbed

    def test_a_tenant_of_another_user_opens_its_window_anew(self):
        """As the library does, whose locks must not be the device's."""
        alice = self.entered(ALICE)
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(ALICE)
                os.setuid(ALICE)
                os.open(f"/proc/self/fd/{alice.descriptors[0]}", os.O_RDWR)
                os._exit(0)
            except OSError:
                os._exit(1)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)

    def test_a_new_owner_by_set(self):
        is_undisturbed = self.bystander()
        alice = self.entered(ALICE)
        self.set(owner=BOB)
        self.assertTrue(self.is_refused(ALICE))
        self.new_tenant_is_alone(BOB, alice)
        self.assertTrue(alice.has_hung_up())
        is_undisturbed()

    def test_a_new_owner_by_reload(self):
        is_undisturbed = self.bystander()
        alice = self.entered(ALICE)
        self.reload(self.TEXT.replace(str(ALICE), str(BOB)))
        self.new_tenant_is_alone(BOB, alice)
        self.assertTrue(alice.has_hung_up())
        self.assertTrue(self.is_refused(ALICE))
        is_undisturbed()

    def test_attached_before_and_entering_after(self):
        for change in (lambda: self.set(owner=BOB), lambda: self.reload(self.TEXT), lambda: self.set(enabled="off")):
            early = self.attached(ALICE if change is not None and not self.is_refused(ALICE) else BOB)
            change()
            try:
                code = early.enter(0)[0]
            except (ConnectionResetError, BrokenPipeError, struct.error):
                code = -1  # hung up on before it could ask
            self.assertNotEqual(code, 0)

    def test_attached_before_and_never_entering(self):
        early = self.attached(ALICE)
        early.window[AT:AT + 5] = b"ALICE"
        self.set(owner=BOB)
        self.new_tenant_is_alone(BOB, early)

    def test_disabled_and_enabled_again(self):
        is_undisturbed = self.bystander()
        alice = self.entered(ALICE)
        self.set(enabled="off")
        self.assertTrue(alice.has_hung_up())
        self.assertTrue(self.is_refused(ALICE))
        self.set(enabled="on")
        self.new_tenant_is_alone(ALICE, alice)
        is_undisturbed()

    def test_disabled_by_reload(self):
        alice = self.entered(ALICE)
        self.reload(self.TEXT.replace("[function.vf1]", "enabled = false\n[function.vf1]"))
        self.assertTrue(alice.has_hung_up())
        self.assertTrue(self.is_refused(ALICE))

    def test_a_group_that_comes_disturbs_nobody(self):
        alice = self.entered(ALICE)
        self.set(owner=ALICE, group=STAFF)
        self.assertTrue(self.is_alive(alice))
        bob = self.entered(BOB, context=1, groups=(STAFF,))
        self.assertEqual(bob.epoch, alice.epoch)

    def test_a_group_that_nobody_used_goes_without_notice(self):
        self.set(owner=ALICE, group=STAFF)
        alice = self.entered(ALICE)
        self.set(owner=ALICE, group=STAFF + 1)
        self.assertTrue(self.is_alive(alice))
        self.assertTrue(self.is_refused(BOB, groups=(STAFF,)))

    def test_a_group_that_goes_takes_its_members_and_the_memory_they_saw(self):
        self.set(owner=ALICE, group=STAFF)
        bob = self.entered(BOB, groups=(STAFF,))
        alice = self.entered(ALICE, context=1)
        self.set(owner=ALICE, group=STAFF + 1)
        self.assertTrue(bob.has_hung_up())
        self.assertTrue(alice.has_hung_up())
        self.new_tenant_is_alone(ALICE, bob)

    def test_an_administrator_who_was_in_it_is_no_reason_to_keep_it(self):
        root = self.entered(0)
        self.set(owner=BOB)
        self.new_tenant_is_alone(BOB, root)

    def test_settings_of_other_kinds_disturb_nobody(self):
        alice = self.entered(ALICE)
        self.set(weight=7)
        self.set(memory="256MiB")
        self.set(owner=ALICE)
        self.set(enabled="on")
        self.reload(self.TEXT)
        self.assertTrue(self.is_alive(alice))
        self.assertEqual(self.function("vf0")["contexts"], 1)

    def test_removed_and_added(self):
        is_undisturbed = self.bystander()
        alice = self.entered(ALICE)
        early = self.attached(ALICE)
        self.assertNotIn("error", self.root.ask(command="remove", function="vf0"))

        def added():
            return self.root.ask(command="add", function="vf0").get("error", {}).get("code", "ok")
        self.eventually(added, "ok")
        try:
            self.assertNotEqual(early.enter(5)[0], 0)
        except (ConnectionResetError, BrokenPipeError, struct.error):
            pass
        self.new_tenant_is_alone(ALICE, alice)
        is_undisturbed()

    def test_a_reset_by_a_register(self):
        alice = self.entered(ALICE)
        device_control = {"offset": 0x48, "width": 2, "value": 0x8000}  # initiate function level reset
        self.assertNotIn("error", self.root.ask(command="configure", function="vf0", writes=[device_control]))
        self.new_tenant_is_alone(ALICE, alice)


if __name__ == "__main__":
    house.VINICD, house.REAL = os.path.abspath(sys.argv[2]), True
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
