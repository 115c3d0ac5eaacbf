#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Requests of the administration, and who may do what."""
import json
import os
import signal
import socket
import sys

import house

OK, PERMISSION_DENIED = 0, 4


class Administration(house.Case):
    def test_the_functions_are_the_pf_and_the_vfs(self):
        self.start("--functions", "3")
        self.assertEqual(self.connect().ask(command="functions"),
                         {"schema": 1, "functions": ["pf", "vf0", "vf1", "vf2"]})

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
        monitor = self.connect()
        monitor.ask(command="monitor")
        self.assertNotIn("error", self.connect().ask(command="reset", function="vf2"))
        while json.loads(monitor.receive())["event"] != "reset":  # then it is over
            pass
        after = self.function("vf2")
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
            f"print([attach(path, f)[0] for f in {list(functions)}], file=out)", **who))

    def ask(self, request, **who):
        return json.loads(self.as_somebody_else(
            f"print(json.dumps(until_let_in(lambda: Connection(path).ask(**{request!r}))), file=out)", **who))

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

    def test_of_a_process_in_too_many_groups_none_counts(self):
        self.configured(text="[function.vf0]\ngroup = 4711\n[function.vf1]\ngroup = 4712\n")
        self.assertEqual(self.codes(1, groups=range(4711, 4711 + 4096)), [OK])
        self.assertEqual(self.codes(2, groups=reversed(range(4711 - 4000, 4711 + 96))), [OK])
        self.assertEqual(self.codes(1, groups=range(4711, 4711 + 4097)), [PERMISSION_DENIED])

    def test_whom_only_the_default_names_where_each_function_says_another_is_a_stranger(self):
        self.configured("--functions", "2", text=f"[function.default]\nowner = {house.NOBODY}\n"
                        "[function.vf0]\nowner = 12345\n[function.vf1]\ngroup = 4711\n")
        self.assertEqual(set(self.ask({"command": "device"})), {"schema", "version"})
        self.assertIn("engines", self.ask({"command": "device"}, groups=[4711]))
        self.connect().ask(command="set", function="vf1", owner=house.NOBODY)
        self.assertIn("engines", self.ask({"command": "device"}))

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
                         {"schema": 1, "functions": ["vf1"]})
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

    def test_strangers_are_told_nothing(self):
        self.configured(text=f"[function.vf1]\nowner = 12345\nenabled = false\n")
        self.assertEqual(self.ask({"command": "functions"})["functions"], [])
        self.assertEqual(set(self.ask({"command": "device"})), {"schema", "version"})
        self.assertEqual(self.ask({"command": "monitor"})["error"]["code"], "permission_denied")
        # One answer for what is another's, what is switched off, and what is not there at all.
        told = {self.ask({"command": command, "function": f})["error"]["message"].replace(f, "F")
                for f in ("pf", "vf0", "vf1", "vf7", "vf8", "vf300", "nonsense")
                for command in ("function", "configuration", "set", "reset", "add", "remove", "configure")}
        self.assertEqual(told, {"function F was not given to this user: the administrator names owners and groups"})
        whys = self.as_somebody_else(
            "for f in (0, 1, 2, 8, 9, 300):\n"
            "    code, why = attach(path, f); print(code, why.split(' was ')[1], file=out)")
        self.assertEqual(len(set(whys.splitlines())), 1, whys)

    def test_a_tenant_is_told_of_its_own_only(self):
        self.configured(text=f"[function.vf1]\nowner = {house.NOBODY}\n")
        device = self.ask({"command": "device"})
        self.assertIn("engines", device)
        for key in ("functions", "connections", "clients", "monitors", "counters", "accepted_connections"):
            self.assertNotIn(key, device)

    def test_the_registers_of_the_pf_are_the_administrators(self):
        self.configured(text=f"[function.pf]\nowner = {house.NOBODY}\n")
        for offset in (4, 0x108):  # the second: SR-IOV control, where VFs are switched off
            reply = self.ask({"command": "configure", "function": "pf",
                              "writes": [{"offset": offset, "width": 2, "value": 0}]})
            self.assertEqual(reply["error"]["code"], "permission_denied")
            self.assertIn("acts on all VFs", reply["error"]["message"])
        # He may still look at it, and reset it.
        self.assertEqual(self.ask({"command": "configuration", "function": "pf"})["name"], "pf")
        self.assertEqual(self.ask({"command": "reset", "function": "pf"})["name"], "pf")
        self.client(1, 0)


class Actors(house.Case):
    """Every change of the administration is logged, and told, with who asked for it."""

    def test_requests(self):
        daemon = self.start()
        monitor = self.connect()
        monitor.ask(command="monitor")
        by = f"asked by process {os.getpid()} of user {os.geteuid()}"
        writes = [{"offset": 4, "width": 2, "value": 0}]
        for request, event, words in (
                ({"command": "set", "function": "vf1", "weight": 9, "enabled": False}, "changed",
                 "weight = 9, enabled = false, "),
                ({"command": "set", "function": "vf1", "owner": 4711}, "changed", "owner = 4711, "),
                ({"command": "reset", "function": "vf2"}, "reset", ""),
                ({"command": "configure", "function": "vf3", "writes": writes}, "changed", "0x4.w = 0x0, "),
                ({"command": "remove", "function": "vf4"}, "removed", ""),
                ({"command": "add", "function": "vf4"}, "added", "")):
            reply = self.connect().ask(**request)
            self.assertNotIn("error", reply, request)
            while (told := json.loads(monitor.receive()))["event"] != event:
                pass
            self.assertEqual((told["function"], told["text"]), (request["function"], words + by))
            self.eventually(lambda: any(f"function {request['function']}: " in line and line.endswith(words + by)
                                        for line in daemon.log().splitlines()), True)

    def test_one_request_is_one_event_and_one_that_changes_nothing_is_none(self):
        daemon = self.start()
        monitor = self.connect()
        monitor.ask(command="monitor")
        connection = self.connect()
        for request in ({"weight": 9, "memory": "128MiB"}, {"weight": 9, "memory": "128MiB"}, {"weight": 9},
                        {"memory": "256MiB"}):
            self.assertNotIn("error", connection.ask(command="set", function="vf1", **request))
        self.assertEqual(connection.ask(command="function", function="vf1")["memory_limit_bytes"], 256 << 20)
        connection.ask(command="remove", function="vf2")
        by = f", asked by process {os.getpid()} of user {os.geteuid()}"
        told = [json.loads(monitor.receive()) for _ in range(3)]
        self.assertEqual([(e["event"], e["text"]) for e in told],
                         [("changed", "weight = 9, memory = 128MiB" + by), ("changed", "memory = 256MiB" + by),
                          ("removed", by[2:])])
        self.eventually(lambda: daemon.log().count("function vf1: "), 2)

    @house.needs_real
    def test_a_write_to_the_pf_is_told_to_all_whom_it_concerns(self):
        self.start("--functions", "3")
        monitor = self.connect()
        monitor.ask(command="monitor")
        connection = self.connect()
        registers = {r["name"]: r["offset"]
                     for r in connection.ask(command="configuration", function="pf")["registers"]}
        at = registers["sriov.enabled"]
        self.assertNotIn("error", connection.ask(command="configure", function="pf",
                                                 writes=[{"offset": at, "width": 2, "value": 0}]))
        told = [json.loads(monitor.receive()) for _ in range(4)]
        self.assertEqual([(e["event"], e["function"]) for e in told],
                         [("changed", f) for f in ("pf", "vf0", "vf1", "vf2")])
        for event in told:
            self.assertIn(f"asked by process {os.getpid()} of user {os.geteuid()}", event["text"])

    def test_a_file_that_is_read_again(self):
        path = self.write("c.toml", "")
        daemon = self.start("--config", path)
        monitor = self.connect()
        monitor.ask(command="monitor")
        self.write("c.toml", "[function.vf1]\nowner = 4711\n[function.vf2]\nweight = 7\n"
                             "[function.vf3]\npresent = false\n[function.vf4]\nmemory = \"128MiB\"\n")
        daemon.send(signal.SIGHUP)
        told = {}
        while len(told) < 4:
            event = json.loads(monitor.receive())
            told[event["function"]] = event["text"]
        by = f"as the file says, asked by process {os.getpid()} of user {os.geteuid()}"
        self.assertEqual(told["vf1"], "owner = 4711, " + by)
        self.assertIn("weight 7", told["vf2"])
        self.assertEqual(told["vf4"], "memory = 128MiB, " + by)
        self.assertEqual([text.endswith(by) for text in told.values()], [True] * 4)
        for function in told:
            self.eventually(lambda: any(f"function {function}: " in line and line.endswith(by)
                                        for line in daemon.log().splitlines()), True)

    def test_who_ended_it(self):
        daemon = self.start()
        daemon.end()
        self.assertIn(f"told to end, asked by process {os.getpid()} of user {os.geteuid()}", daemon.log())

    @house.needs_root
    def test_an_owners_changes_do_not_hide_the_administrators(self):
        daemon = self.start("--mode", "0666", "--config",
                            self.write("c.toml", f"[function.vf1]\nowner = {house.NOBODY}\n"))
        self.as_somebody_else(
            "c = Connection(path)\n"
            "for i in range(100): c.ask(command='configure', function='vf1',"
            " writes=[{'offset': 4, 'width': 2, 'value': 4 * (i % 2)}])")
        self.connect().ask(command="set", function="vf1", weight=5)
        self.eventually(lambda: "function vf1: weight = 5, asked by process" in daemon.log(), True)


class Requests(house.Case):
    def test_what_nests_deeply_is_not_parsed(self):
        self.start()
        connection = self.connect()
        for request in (b'{"a":' + b"[" * 4000, b'{"a":' * 600, b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}"):
            connection.send(request)
            self.assertIn("nests so deeply", json.loads(connection.receive())["error"]["message"])
        connection.send(json.dumps({"command": "function", "function": "[[[[[[[[[[[[" + '\\"[['}).encode())
        self.assertIn("there is no function", json.loads(connection.receive())["error"]["message"])

    def test_a_request_of_a_megabyte(self):
        daemon = self.start()
        connection = self.connect()
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        try:
            connection.send(b"{" + b"[" * (1 << 20))
        except OSError:
            pass  # the kernel takes no packet of that size here
        else:
            self.assertTrue(connection.has_hung_up())
        self.assertIn("functions", self.connect().ask(command="functions"))
        self.assertIsNone(daemon.process.poll())

    def test_a_request_writes_few_registers_and_resets_once(self):
        self.start()
        connection = self.connect()
        write = {"offset": 4, "width": 2, "value": 4}
        self.assertIn("at most 16", connection.ask(command="configure", function="vf1",
                                                   writes=[write] * 17)["error"]["message"])
        reset = {"offset": 0x48, "width": 2, "value": 0x8000}
        self.assertIn("is the last write", connection.ask(command="configure", function="vf1",
                                                          writes=[reset, reset])["error"]["message"])
        self.assertIn("is the last write", connection.ask(
            command="configure", function="vf1",
            writes=[{"offset": 0x49, "width": 1, "value": 0x80}, write])["error"]["message"])
        self.assertEqual(connection.ask(command="configure", function="vf1", writes=[write, reset])["name"], "vf1")


if __name__ == "__main__":
    house.main(sys.argv)
