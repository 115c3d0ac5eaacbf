#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counters: what is counted where, totals that never go back, watching, rates, Prometheus.

    counter_test.py VINIC ACTOR
"""
import json
import os
import re
import sys
import threading

import actors

# Made from the public header, and compared with it by a test.
ERRORS_PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "errors.md")


class Counted(actors.Case):
    def of_vi(self, number):
        return self.vinic_json("counter", "show", "demo", "--vi", str(number))["vis"][0]["counters"]

    def test_messages_and_bytes_both_ways(self):
        server, client = self.connected_pair()
        server.do("receive 4096 3")
        client.do("send 1000 3", "reap 3")
        server.do("reap 3")
        sent, received = self.of_vi(1), self.of_vi(0)
        self.assertEqual((sent["tx_send_messages"], sent["tx_send_bytes"]), (3, 3000))
        self.assertEqual((received["rx_messages"], received["rx_bytes"]), (3, 3000))
        self.assertEqual((sent["rx_messages"], received["tx_send_messages"]), (0, 0))

    def test_a_message_that_is_dropped_is_counted(self):
        server = self.actor()
        client = self.actor()
        server.do("vi unreliable", "listen server")
        client.do("vi unreliable")
        server.tell("accept")
        client.do("connect server")
        server.hear()
        client.do("send 8 4", "reap 4")  # nobody has posted a receive
        server.do("receive 8 1")
        client.do("send 100 1", "reap 1")  # and this one is too long for it
        server.do("reap 1")
        counted = self.of_vi(0)
        self.assertEqual((counted["rx_no_descriptor_drops"], counted["rx_length_drops"]), (4, 1))
        self.assertEqual(self.vinic_json("vi", "show", "demo", "0")["vis"][0]["rx_drops"], 5)

    def test_a_refused_access_is_counted_by_kind_and_dropped_once(self):
        server = self.actor()
        client = self.actor()
        server.do("vi unreliable", "listen server")
        client.do("vi unreliable")
        server.tell("accept")
        client.do("connect server")
        server.hear()
        client.do("write 8 0 4711", "reap 1")
        counted = self.of_vi(0)
        self.assertEqual((counted["rx_refused_write_messages"], counted["rx_protection_drops"]), (1, 1))
        self.assertEqual((counted["rx_refused_read_messages"], counted["rx_refused_atomic_messages"]), (0, 0))
        self.assertEqual(self.vinic_json("vi", "show", "demo", "0")["vis"][0]["rx_drops"], 1)
        server.do("close")
        self.assertEqual(self.counters("demo")["rx_refused_write_messages"], 1)

    def test_a_datagram_to_nobody_is_counted(self):
        server = self.actor()
        client = self.actor()
        server.do("datagram mailbox")
        client.do("datagram sensor", "resolve mailbox")
        server.do("close")
        client.do("send_to 8", "reap 1")
        self.assertEqual(self.of_vi(1)["tx_datagram_drops"], 1)

    def test_errors_are_counted_by_cause(self):
        server, client = self.connected_pair()
        server.do("receive 64 2")
        client.do("receive 64 3")
        self.assertEqual(client.do("write 8 0 4711", "reap 4").split(" ")[0], "remote_protection")
        counted = self.of_vi(1)
        self.assertEqual((counted["tx_remote_protection_errors"], counted["rx_flushed_errors"]), (1, 3))

    def test_a_dead_peer_is_a_cause_of_its_own(self):
        server, client = self.connected_pair()
        client.do("receive 64 3")
        server.kill()
        client.do("reap 3")
        self.assertEqual(self.of_vi(1)["rx_connection_lost_errors"], 3)

    def test_what_a_closed_vi_counted_stays_in_the_totals(self):
        server, client = self.connected_pair()
        server.do("receive 64 3")
        client.do("send 8 3", "reap 3")
        server.do("reap 3")
        before = self.counters("demo")
        client.do("close")
        server.do("disconnect")
        after = self.counters("demo")
        self.assertEqual([n for n in before if after[n] < before[n]], [])
        self.assertEqual((after["tx_send_messages"], after["rx_messages"]), (3, 3))

    def test_what_a_dead_process_counted_stays_in_the_totals(self):
        server, client = self.connected_pair()
        server.do("receive 64 3")
        client.do("send 8 3", "reap 3")
        server.do("reap 3")
        before = self.counters("demo")
        server.kill()
        client.do("receive 64 1", "reap 1")  # meanwhile the server was buried
        self.assertEqual(len(self.vinic_json("vi", "show", "demo")["vis"]), 1)
        after = self.counters("demo")
        self.assertEqual([n for n in before if after[n] < before[n]], [])

    def test_totals_never_go_back_while_vis_come_and_go(self):
        server, client = self.connected_pair()
        over = threading.Event()

        def come_and_go():
            while not over.is_set():
                server.do("receive 64 3")
                client.do("send 8 3", "reap 3")
                server.do("reap 3")
                client.do("close", "vi")
                server.do("disconnect")
                server.tell("accept")
                client.do("connect server")
                server.hear()

        worker = threading.Thread(target=come_and_go)
        worker.start()
        try:
            lines = self.vinic("counter", "show", "demo", "--watch", "0.002", "--count", "300", "-j").splitlines()
        finally:
            over.set()
            worker.join()
        samples = [json.loads(line)["counters"] for line in lines]
        self.assertEqual(len(samples), 300)
        for earlier, later in zip(samples, samples[1:]):
            self.assertEqual([n for n in earlier if later[n] < earlier[n]], [])
        self.assertGreater(samples[-1]["tx_send_messages"], samples[0]["tx_send_messages"])


class Watched(actors.Case):
    def test_watching_prints_as_often_as_it_is_told(self):
        self.connected_pair()
        text = self.vinic("counter", "show", "demo", "--watch", "0.05s", "--count", "3", "--nonzero")
        self.assertEqual(text.count("shm:demo\nCOUNTER"), 3)

    def test_rates_are_per_second(self):
        server, client = self.connected_pair()
        server.do("receive 64 10")
        watch = actors.subprocess.Popen(
            [actors.VINIC, "counter", "show", "demo", "--watch", "0.2", "--count", "400", "--rate", "-j"],
            env=self.environment, stdout=actors.subprocess.PIPE, text=True)
        try:
            watch.stdout.readline()  # the first interval is over
            client.do("send 8 10", "reap 10")
            for line in watch.stdout:
                sample = json.loads(line)
                if sample["rates_per_second"]["tx_send_messages"]:
                    break
        finally:
            watch.kill()
            watch.wait()
            watch.stdout.close()
        sent = sample["rates_per_second"]["tx_send_messages"] * sample["elapsed_seconds"]
        self.assertTrue(0.99 < sent < 10.01, sample)
        self.assertEqual(sample["rates_per_second"]["tx_write_messages"], 0)

    def test_watching_ends_with_the_device(self):
        actor = self.actor()
        watch = actors.subprocess.Popen([actors.VINIC, "counter", "show", "demo", "--watch", "0.05"],
                                        env=self.environment, stdout=actors.subprocess.PIPE,
                                        stderr=actors.subprocess.PIPE, text=True)
        watch.stdout.readline()
        actor.leave()
        _, said = watch.communicate(timeout=actors.PATIENCE_SECONDS)
        self.assertEqual(watch.returncode, 1)
        self.assertIn("which its last process has left", said)

    def test_a_vi_that_does_not_exist(self):
        self.actor()
        self.assertIn("VI 7 of device shm:demo", self.refused("counter", "show", "demo", "--vi", "7"))
        self.assertIn("VI 7 of device shm:demo", self.refused("vi", "show", "demo", "7"))


class Prometheus(actors.Case):
    SAMPLE = re.compile(r'^[a-z_]+\{device="[\w.-]+"(,vi="\d+")?\} \d+$')

    def test_every_line_is_in_order(self):
        self.connected_pair()
        self.actor("shm:other")
        text = self.vinic("counter", "show", "--openmetrics", "-d")
        self.assertTrue(text.endswith("\n# EOF\n"))
        metric, seen = "", set()
        for line in text.splitlines()[:-1]:
            if line.startswith("# TYPE "):
                _, _, metric, kind = line.split(" ")
                self.assertIn(kind, ("counter", "gauge"))
                self.assertNotIn(metric, seen)
                seen.add(metric)
            elif line.startswith("# HELP "):
                self.assertEqual(line.split(" ")[2], metric)
            else:
                self.assertRegex(line, self.SAMPLE)
                self.assertIn(line.split("{")[0], (metric, metric + "_total"))
        names = self.counters("demo")
        self.assertEqual({f"vinic_{n}" for n in names} | {f"vinic_vi_{n}" for n in names},
                         {m for m in seen if not m.startswith("vinic_device_")})
        for name in names:
            self.assertIn(f'vinic_{name}_total{{device="other"}}', text)
            self.assertIn(f'vinic_vi_{name}_total{{device="demo",vi="1"}}', text)

    def test_names_follow_the_grammar(self):
        self.actor()
        units = "messages|bytes|copies|descriptors|errors|drops"
        for name in self.counters("demo"):
            self.assertRegex(name, rf"^(tx|rx)(_[a-z]+)*_({units})$")

    def test_each_status_but_success_has_a_counter_each_way(self):
        self.actor()
        with open(ERRORS_PAGE, encoding="utf-8") as file:
            page = file.read().split("## Status")[1]
        statuses = re.findall(r"^\| \d+ \| `(\w+)` \|", page, re.MULTILINE)
        self.assertEqual(statuses[0], "success")
        wanted = {f"{way}_{status}_errors" for way in ("tx", "rx") for status in statuses[1:]}
        self.assertEqual({name for name in self.counters("demo") if name.endswith("_errors")}, wanted)


if __name__ == "__main__":
    actors.main(sys.argv)
