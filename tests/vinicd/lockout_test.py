#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Strangers, who were given no function, try to keep others out, under as many user ids as they like.

Any user has thousands of ids of its own (subuid(5)); here root becomes them.
"""
import os
import resource
import select
import signal
import sys

import house

TENANT = 12345
STRANGERS = range(200_000, 200_016)
MONITORS = 10


@house.needs_root
class Lockout(house.Case):
    def configured(self, *arguments, **options):
        return self.start("--mode", "0666", "--config",
                          self.write("c.toml", f"[function.vf0]\nowner = {TENANT}\n"), *arguments, **options)

    def crowd(self, code, users=STRANGERS):
        """Processes of many users that run `code`, which prints a line when it has begun, until the test ends."""
        processes = []
        for user in users:
            process, output = self.somebody(code, user=user, group=user)
            processes.append(process)
            self.addCleanup(self.end_of_one, process, output)
        for _, output in self.outputs:
            self.assertEqual(output.readline(), "begun\n")
        self.outputs.clear()
        return processes

    def setUp(self):
        super().setUp()
        self.outputs = []

    def somebody(self, code, **who):
        process, output = super().somebody(code, **who)
        self.outputs.append((process, output))
        return process, output

    def end_of_one(self, process, output):
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        output.close()

    def everybody_else_gets_in(self, rounds=10):
        """Administrators ask, the tenant uses its function; whoever had a place keeps it."""
        administrator = self.connect()
        for _ in range(rounds):
            self.assertIn("pf", administrator.ask(command="functions")["functions"])
            self.assertIn("pf", self.connect().ask(command="functions")["functions"])
        text = self.as_tenant(f"kept = [client(path, 1, context) for context in range({rounds})]\n"
                              "print(len(kept), file=out)")
        self.assertEqual(text.strip(), str(rounds))

    def as_tenant(self, code):
        kept, self.outputs = self.outputs, []
        try:
            return self.as_somebody_else(code, user=TENANT, group=TENANT)
        finally:
            self.outputs = kept

    def test_many_that_ask_and_stay(self):
        daemon = self.configured()
        self.crowd("several = []\n"
                   "for _ in range(16):\n"
                   "    several.append(Connection(path))\n"
                   "    try:\n"
                   "        several[-1].ask(command='device')\n"
                   "    except (Refused, OSError):\n"
                   "        pass  # their time is used up, or another one has got its place\n"
                   "print('begun', file=out, flush=True); time.sleep(3600)")
        self.everybody_else_gets_in()
        self.assertEqual(daemon.end(), 0)

    def test_many_that_say_nothing_and_come_again(self):
        daemon = self.configured()
        self.crowd("several = [Connection(path) for _ in range(64)]\n"
                   "print('begun', file=out, flush=True)\n"
                   "while True:\n"
                   "    for i, c in enumerate(several):\n"
                   "        c.socket.setblocking(False)\n"
                   "        try:\n"
                   "            gone = len(c.receive()) < 1000\n"
                   "        except BlockingIOError:\n"
                   "            gone = False\n"
                   "        except OSError:\n"
                   "            gone = True\n"
                   "        if gone:\n"
                   "            c.close(); several[i] = Connection(path)\n"
                   "    time.sleep(0.01)", users=STRANGERS[:4])
        self.everybody_else_gets_in()
        self.assertEqual(daemon.end(), 0)

    def test_a_storm_of_connections(self):
        daemon = self.configured()
        self.crowd("print('begun', file=out, flush=True)\n"
                   "while True:\n"
                   "    try:\n"
                   "        Connection(path).close()\n"
                   "    except OSError:\n"
                   "        pass", users=STRANGERS[:4])
        self.everybody_else_gets_in()
        # What strangers may use of the main thread is bounded, and they have used it up.
        administrator = self.connect()
        self.eventually(lambda: administrator.ask(command="device")["limits_reached"] > 0, True)
        self.everybody_else_gets_in()
        self.assertEqual(daemon.end(), 0)

    def test_requests_that_are_much_work(self):
        daemon = self.configured()
        self.crowd("big = b'{\"command\": \"device\", \"a\": \"' + b'x' * 4000 + b'\"}'\n"
                   "deep = b'{\"a\": ' + b'[' * 4000\n"
                   "print('begun', file=out, flush=True)\n"
                   "while True:\n"
                   "    try:\n"
                   "        c = Connection(path)\n"
                   "        for _ in range(100):\n"
                   "            c.send(big); c.send(deep); c.receive(); c.receive()\n"
                   "    except OSError:\n"
                   "        pass")
        self.everybody_else_gets_in()
        self.assertEqual(daemon.end(), 0)

    def test_strangers_that_were_stopped(self):
        self.configured()
        for process in self.crowd("several = [Connection(path) for _ in range(8)]\n"
                                  "for c in several:\n"
                                  "    try:\n"
                                  "        c.send(b'{\"command\": \"device\"}')\n"
                                  "    except OSError:\n"
                                  "        pass  # another one has got its place\n"
                                  "print('begun', file=out, flush=True); time.sleep(3600)"):
            os.kill(process, signal.SIGSTOP)
        self.everybody_else_gets_in()

    def test_one_stranger_with_one_connection_is_not_pushed_out_by_one_with_many(self):
        self.configured()
        process, output = self.somebody(
            "c = Connection(path); c.ask(command='device'); print('begun', file=out, flush=True)\n"
            "print(c.has_hung_up(), file=out, flush=True)", user=STRANGERS[0], group=STRANGERS[0])
        self.addCleanup(self.end_of_one, process, output)
        self.assertEqual(output.readline(), "begun\n")
        self.outputs.clear()
        self.crowd("several = [Connection(path) for _ in range(300)]\n"
                   "print('begun', file=out, flush=True); time.sleep(3600)", users=STRANGERS[1:2])
        self.assertEqual(select.select([output], [], [], 0.2)[0], [])

    def test_a_tenant_that_floods_keeps_out_no_other_and_no_administrator(self):
        self.start("--mode", "0666", "--config", self.write(
            "c.toml", f"[function.vf0]\nowner = {TENANT}\n[function.vf1]\nowner = {STRANGERS[0]}\n"))
        self.crowd("monitors = [Connection(path) for _ in range(100)]\n"
                   "for c in monitors: c.ask(command='monitor')\n"
                   "print('begun', file=out, flush=True)\n"
                   "while True:\n"
                   "    try:\n"
                   "        c = Connection(path); c.attach(2); c.enter(0); c.close()\n"
                   "        c = Connection(path); c.ask(command='reset', function='vf1'); c.close()\n"
                   "    except OSError:\n"
                   "        pass", users=STRANGERS[:1])
        self.everybody_else_gets_in()

    def test_with_few_descriptors_administrators_get_in(self):
        daemon = self.configured("--functions", "2", preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_NOFILE, (110, 110)))
        self.crowd("several = [Connection(path) for _ in range(100)]\n"
                   "print('begun', file=out, flush=True); time.sleep(3600)", users=[TENANT])
        self.assertIn("pf", self.connect().ask(command="functions")["functions"])
        self.assertGreater(self.connect().ask(command="device")["displaced_connections"], 0)
        self.assertIsNone(daemon.process.poll())

    def owner_and_monitors(self, connect_monitors):
        """Monitors connect, then the owner of vf0 does, and then vinicd may open no file more: what the owner is told
        when he attaches and enters, and an administrator."""
        daemon = self.start("--mode", "0666", "--config", self.write(
            "c.toml", f"[function.vf0]\nowner = {TENANT}\n[function.vf1]\nowner = {STRANGERS[0]}\n"))
        administrator = self.connect()
        connect_monitors()
        process, output = self.somebody(
            "c = Connection(path); print('begun', file=out, flush=True)\n"
            "while not os.path.exists(path + '.go'): time.sleep(0.01)\n"
            "code = c.attach(1)[0]\n"
            "print(code, c.why if code else c.enter(0)[0], file=out, flush=True)\n"
            "time.sleep(3600)", user=TENANT, group=TENANT)
        self.addCleanup(self.end_of_one, process, output)
        self.assertEqual(output.readline(), "begun\n")
        self.eventually(lambda: administrator.ask(command="device")["connections"], 2 + MONITORS)
        numbers = lambda: {int(n) for n in os.listdir(f"/proc/{daemon.pid}/fd")}  # noqa: E731
        taken = numbers()
        while (again := numbers()) != taken:  # one that is closed again at once is none
            taken = again
        none_free = min(set(range(len(taken) + 1)) - taken)
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (none_free, none_free))
        self.write("socket.go", "")
        return output.readline().strip(), administrator

    def test_with_no_descriptor_left_a_monitor_gives_way_to_an_owner_who_attaches(self):
        answers, administrator = self.owner_and_monitors(lambda: self.crowd(
            f"monitors = [Connection(path) for _ in range({MONITORS})]\n"
            "for c in monitors: c.ask(command='monitor')\n"
            "print('begun', file=out, flush=True); time.sleep(3600)", users=STRANGERS[:1]))
        self.assertEqual(answers, "0 0")
        state = administrator.ask(command="device")
        self.assertEqual(state["clients"], 1)
        self.assertIn(state["displaced_connections"], range(1, MONITORS))

    def test_with_no_descriptor_left_a_stronger_monitor_stays_and_who_attaches_is_told_of_the_limit(self):
        answers, administrator = self.owner_and_monitors(
            lambda: [self.connect().ask(command="monitor") for _ in range(MONITORS)])
        self.assertRegex(answers, f"^{house.LIMIT_REACHED} vinicd may not open more files")
        self.assertEqual(administrator.ask(command="device")["displaced_connections"], 0)


if __name__ == "__main__":
    house.main(sys.argv)
