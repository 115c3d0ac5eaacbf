#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Requests of the administration, and who may do what."""
import json
import os
import signal
import sys

import house

OK, PERMISSION_DENIED, LIMIT_REACHED = 0, 4, 7


class Administration(house.Case):
    def test_the_functions_are_the_pf_and_the_vfs(self):
        self.start("--functions", "3")
        self.assertEqual(self.connect().ask(command="functions"),
                         {"schema": 1, "functions": ["pf", "vf0", "vf1", "vf2"], "hidden_functions": 0})

    def test_rates_are_set_and_told(self):
        self.start("--functions", "3")
        connection = self.connect()
        reply = connection.ask(command="set", function="vf1", guarantee="2GB/s", cap=4 * 10 ** 9, weight=10,
                               priority=1)
        for told in (reply, connection.ask(command="function", function="vf1")):
            self.assertEqual((told["guarantee_bytes_per_second"], told["cap_bytes_per_second"], told["weight"],
                              told["priority"]), (2 * 10 ** 9, 4 * 10 ** 9, 10, 1))
        # What is not named stays.
        self.assertEqual(connection.ask(command="set", function="vf1", weight=3)["priority"], 1)
        self.assertEqual(connection.ask(command="function", function="vf0")["weight"], 1)

    def test_what_is_wrong_is_said(self):
        self.start("--functions", "3")
        connection = self.connect()
        for request, word in (({"command": "paint"}, "is no command"), ({}, "this is no request"),
                              ({"command": 7}, "this is no request"),
                              ({"command": "function"}, "a \"function\" is missing"),
                              ({"command": "function", "function": "vf3"}, "vf0 to vf2"),
                              ({"command": "function", "function": 1}, "a \"function\" is missing"),
                              ({"command": "functions", "function": "vf1"}, "means nothing"),
                              ({"command": "configure", "function": "vf1"}, "are missing"),
                              ({"command": "configure", "function": "vf1", "writes": 4}, "means nothing"),
                              ({"command": "configure", "function": "vf1", "writes": [{"offset": 4}]}, "a write has"),
                              ({"command": "set", "function": "vf1"}, "nothing to set"),
                              ({"command": "set", "function": "vf1", "speed": 1}, "is no setting"),
                              ({"command": "set", "function": "vf1", "weight": 0}, "from 1 to 10000"),
                              ({"command": "set", "function": "vf1", "weight": -1}, "is no number"),
                              ({"command": "set", "function": "vf1", "weight": [1]}, "is wanted"),
                              ({"command": "set", "function": "vf1", "cap": "fast"}, "is no rate"),
                              ({"command": "set", "function": "vf1", "guarantee": "2GB/s", "cap": "1GB/s"},
                               "above the cap"),
                              ({"command": "set", "function": "vf1", "guarantee": "9GB/s"}, "add up to")):
            reply = connection.ask(**request)
            self.assertIn(word, reply.get("error", {}).get("message", ""), request)
        self.assertEqual(connection.ask(command="function", function="vf1")["weight"], 1)
        device = connection.ask(command="device")
        self.assertEqual(device["refused_requests"], 18)

    def test_a_configuration_space_has_4096_bytes(self):
        self.start()
        reply = self.connect().ask(command="configuration", function="vf0")
        self.assertEqual(len(bytes.fromhex(reply["bytes"])), 4096)

    def test_what_the_file_leaves_out_is_added_later(self):
        text = "[function.vf1]\nguarantee = \"8GB/s\"\npresent = false\n[function.vf2]\nguarantee = \"8GB/s\"\n"
        path = self.write("c.toml", text)
        daemon = self.start("--engines", "1", "--engine-rate", "10GB/s", "--functions", "3", "--config", path)
        connection = self.connect()
        self.assertEqual(connection.ask(command="functions")["functions"], ["pf", "vf0", "vf2"])
        self.assertIn("was removed", connection.ask(command="function", function="vf1")["error"]["message"])
        # Two guarantees of 8 GB/s are more than there is: it stays away.
        self.assertIn("add up to", connection.ask(command="add", function="vf1")["error"]["message"])
        connection.ask(command="set", function="vf2", guarantee="1GB/s")
        self.assertEqual(connection.ask(command="add", function="vf1")["guarantee_bytes_per_second"], 8 * 10 ** 9)
        self.assertIn("no setting", connection.ask(command="set", function="vf1", present=False)["error"]["message"])
        # The file again: vf1 goes, vf0 stays.
        daemon.send(signal.SIGHUP)
        self.eventually(lambda: self.connect().ask(command="functions")["functions"], ["pf", "vf0", "vf2"])
        self.write("c.toml", text.replace("present = false", "present = true").replace("8GB", "3GB"))
        daemon.send(signal.SIGHUP)
        self.eventually(lambda: self.connect().ask(command="functions")["functions"], ["pf", "vf0", "vf1", "vf2"])
        self.assertEqual(self.function("vf1")["guarantee_bytes_per_second"], 3 * 10 ** 9)

    def test_the_pf_is_always_there(self):
        self.assertIn("the device goes with its PF",
                      self.refused("--config", self.write("c.toml", "[function.pf]\npresent = false\n")))

    def test_coming_and_going_is_told(self):
        self.start()
        monitor = self.connect()
        monitor.ask(command="monitor")
        for command in ("remove", "add"):
            self.connect().ask(command=command, function="vf4")
        events = [json.loads(monitor.receive()) for _ in range(2)]
        self.assertEqual([(e["event"], e["function"]) for e in events], [("removed", "vf4"), ("added", "vf4")])

    def test_a_reset_counts(self):
        self.start()
        before = self.function("vf2")
        self.client(3, 0)
        after = self.connect().ask(command="reset", function="vf2")
        self.assertEqual(after["counters"]["resets"], before["counters"]["resets"] + 1)
        self.assertNotEqual(after["epoch"], before["epoch"])
        self.assertEqual(after["contexts"], 0)


@house.needs_root
class Rights(house.Case):
    def configured(self, *arguments, text=""):
        return self.start("--mode", "0666", "--config", self.write("c.toml", text), *arguments)

    def codes(self, *functions, **who):
        """The codes with which somebody else attaches functions."""
        return json.loads(self.as_somebody_else(
            f"print([Connection(path).attach(f)[0] for f in {list(functions)}], file=out)", **who))

    def ask(self, request, **who):
        return json.loads(self.as_somebody_else(
            f"print(json.dumps(Connection(path).ask(**{request!r})), file=out)", **who))

    def test_nobody_may_use_what_is_not_theirs(self):
        self.configured()
        self.assertEqual(self.codes(0, 1, 2), [PERMISSION_DENIED] * 3)

    def test_an_owner_may_use_their_function_only(self):
        self.configured(text=f"[function.vf1]\nowner = {house.NOBODY}\n")
        self.assertEqual(self.codes(0, 1, 2, 3), [PERMISSION_DENIED, PERMISSION_DENIED, OK, PERMISSION_DENIED])
        self.assertEqual(self.codes(2, user=12345), [PERMISSION_DENIED])

    def test_a_functions_group_may_use_it(self):
        self.configured(text="[function.vf0]\ngroup = 4711\n")
        self.assertEqual(self.codes(1, group=4711), [OK])
        self.assertEqual(self.codes(1, groups=[4712, 4711]), [OK])
        self.assertEqual(self.codes(1, groups=[4712]), [PERMISSION_DENIED])

    def test_the_sockets_group_may_use_what_is_nobodys_own(self):
        self.configured("--group", "4711", text="[function.vf1]\nowner = 12345\n")
        self.assertEqual(self.codes(0, 1, 2, groups=[4711]), [PERMISSION_DENIED, OK, PERMISSION_DENIED])

    def test_root_may_use_all(self):
        self.configured(text=f"[function.default]\nowner = {house.NOBODY}\n")
        self.assertEqual([self.connect().attach(f)[0] for f in (0, 1, 2)], [OK] * 3)

    def test_who_may_set_and_reset(self):
        self.configured(text=f"[function.vf1]\nowner = {house.NOBODY}\n[function.vf2]\ngroup = {house.NOBODY}\n")
        setting = {"command": "set", "function": "vf1", "weight": 9}
        self.assertEqual(self.ask(setting)["error"]["code"], "permission_denied")
        self.assertEqual(self.ask({"command": "reset", "function": "vf1"})["name"], "vf1")
        writes = [{"offset": 4, "width": 2, "value": 4}]
        self.assertEqual(self.ask({"command": "configure", "function": "vf1", "writes": writes})["name"], "vf1")
        self.assertEqual(self.ask({"command": "configure", "function": "vf2", "writes": writes})["error"]["code"],
                         "permission_denied")
        for command in ("remove", "add"):
            reply = self.ask({"command": command, "function": "vf1"})
            self.assertEqual(reply["error"]["code"], "permission_denied", reply)
        self.assertEqual(self.ask({"command": "function", "function": "vf1"})["name"], "vf1")
        self.assertEqual(self.ask({"command": "reset", "function": "vf2"})["error"]["code"], "permission_denied")
        self.assertEqual(self.ask({"command": "reset", "function": "vf3"})["error"]["code"], "permission_denied")

    def test_others_are_not_to_be_seen(self):
        self.configured(text=f"[function.vf1]\nowner = {house.NOBODY}\n")
        self.assertEqual(self.ask({"command": "functions"}),
                         {"schema": 1, "functions": ["vf1"], "hidden_functions": 8})
        for command in ("function", "configuration"):
            self.assertEqual(self.ask({"command": command, "function": "vf0"})["error"]["code"], "permission_denied")
        self.assertEqual(self.ask({"command": "function", "function": "vf1"})["owner"], "nobody")
        self.assertNotIn("counters", self.ask({"command": "device"}))

    def test_a_monitor_hears_of_its_own_functions_only(self):
        self.configured(text=f"[function.vf1]\nowner = {house.NOBODY}\n")
        process, output = self.somebody(
            "c = Connection(path); c.ask(command='monitor'); print('listens', file=out, flush=True)\n"
            "print(c.receive().decode(), file=out)")
        self.addCleanup(os.waitpid, process, 0)
        self.addCleanup(output.close)
        self.assertEqual(output.readline(), "listens\n")
        self.client(1, 0)
        self.client(2, 0)
        event = json.loads(output.readline())
        self.assertEqual((event["event"], event["function"]), ("attached", "vf1"))

    def test_one_user_cannot_take_all_places(self):
        self.configured()
        code = self.as_somebody_else("several = [Connection(path) for _ in range(64)]\n"
                                     "print(int.from_bytes(Connection(path).receive()[:4], 'little'), file=out)\n")
        self.assertEqual(int(code), LIMIT_REACHED)
        code = self.as_somebody_else("several = [Connection(path) for _ in range(16)]\n"
                                     "for c in several: c.ask(command='functions')\n"
                                     "print(Connection(path).ask(command='functions')['error']['code'], file=out)")
        self.assertEqual(code, "limit_reached")


if __name__ == "__main__":
    house.main(sys.argv)
