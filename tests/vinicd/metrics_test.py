#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The counters for Prometheus: the text, the sums, and the small HTTP server."""
import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import unittest
from decimal import Decimal

import house

NAME = r"[a-z][a-z0-9_]*"
SAMPLE = re.compile(rf'^({NAME})(?:\{{({NAME}="[^"\\\n]*"(?:,{NAME}="[^"\\\n]*")*)\}})? (-?\d+(?:\.\d+)?)$')


def parse(text):
    """{family: (type, unit, help, {sample name and labels: value})}; anything odd is an AssertionError.

    After the OpenMetrics specification: metadata before samples, families in one piece, nothing twice, suffixes as
    the type wants them, "# EOF" as the last line.
    """
    assert text.endswith("\n# EOF\n"), "does not end in # EOF"
    families, current = {}, None
    for line in text[:-len("# EOF\n")].splitlines():
        if line.startswith("# "):
            _, word, name, value = line.split(" ", 3)
            if word == "TYPE":
                assert name not in families, f"{name} comes twice"
                assert value in ("counter", "gauge", "info"), line
                current = name
                families[name] = {"type": value, "unit": "", "help": "", "samples": {}}
            else:
                assert word in ("UNIT", "HELP") and name == current, line
                assert not families[name]["samples"] and not families[name][word.lower()], line
                families[name][word.lower()] = value
                assert word != "UNIT" or name.endswith("_" + value), line
            continue
        found = SAMPLE.match(line)
        assert found, line
        name, labels, value = found.groups()
        family = families[current]
        suffix = {"counter": "_total", "gauge": "", "info": "_info"}[family["type"]]
        assert name == current + suffix, f"{line} does not belong to {current}"
        assert (name, labels) not in family["samples"], f"{line} comes twice"
        assert family["type"] != "counter" or not value.startswith("-"), line
        family["samples"][(name, labels)] = Decimal(value)
    for name, family in families.items():
        assert family["samples"] and family["help"].endswith("."), name
    return families


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Metrics(house.Case):
    def setUp(self):
        super().setUp()
        self.port = free_port()

    def get(self, path="/metrics", method="GET"):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=house.PATIENCE_SECONDS)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response, response.read().decode()
        finally:
            connection.close()

    def families(self):
        response, text = self.get()
        self.assertEqual(response.status, 200)
        self.assertEqual(response.getheader("Content-Type"),
                         "application/openmetrics-text; version=1.0.0; charset=utf-8")
        return parse(text)

    def serve(self, *arguments):
        return self.start("--functions", "3", "--openmetrics", str(self.port), *arguments)

    def test_the_functions_add_up_to_the_device(self):
        self.serve()
        for function, contexts in ((1, 2), (2, 3), (3, 1)):
            for context in range(contexts):
                self.client(function, context)
        families = self.families()
        compared = 0
        for name, family in families.items():
            if not name.startswith("vinic_function_") or family["type"] != "counter":
                continue
            device = families["vinic_device_" + name[len("vinic_function_"):]]
            self.assertEqual(sum(family["samples"].values()), sum(device["samples"].values()), name)
            self.assertEqual(len(device["samples"]), 1)
            self.assertEqual([labels for _, labels in family["samples"]],
                             [f'function="{f}"' for f in ("pf", "vf0", "vf1", "vf2")])
            compared += 1
        self.assertEqual(compared, len(self.function("vf0")["counters"]))
        if not house.REAL:
            total = {k: sum(f["samples"].values()) for k, f in families.items()}
            self.assertEqual(total["vinic_device_tx_messages"], 60)
            self.assertEqual(total["vinic_device_engine_seconds"], Decimal("0.740740734"))

    def test_gauges_tell_what_is_in_force(self):
        self.serve("--config", self.write("c.toml", '[function.vf1]\nguarantee = "2GB/s"\nweight = 7\n'))
        self.client(2, 0)
        families = self.families()
        vf1 = {name: family["samples"].get((name, 'function="vf1"')) for name, family in families.items()}
        self.assertEqual((vf1["vinic_function_guarantee_bytes"], vf1["vinic_function_weight"],
                          vf1["vinic_function_contexts"]), (2 * 10 ** 9, 7, 1))
        self.assertEqual(families["vinicd_clients"]["samples"][("vinicd_clients", None)], 1)

    @unittest.skipUnless(shutil.which("promtool"), "promtool is not installed")
    def test_promtool_agrees(self):
        self.serve()
        done = subprocess.run(["promtool", "check", "metrics"], input=self.get()[1], text=True, check=False,
                              capture_output=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_the_parser_of_this_test_refuses_what_is_wrong(self):
        good = '# TYPE a_b counter\n# HELP a_b Words.\na_b_total{function="vf0"} 1\n# EOF\n'
        parse(good)
        for bad in (good[:-6], good.replace("_total", ""), good.replace(" 1\n", " x\n"), good.replace(" 1\n", " -1\n"),
                    good.replace("# EOF\n", 'a_b_total{function="vf0"} 1\n# EOF\n'), good.replace("# TYPE", "# KIND"),
                    good.replace("# EOF\n", "# TYPE a_b counter\n# EOF\n"), good.replace("counter", "gauge"),
                    good.replace('# HELP', "# UNIT a_b seconds\n# HELP"), good.replace('"vf0"', "vf0")):
            with self.assertRaises(AssertionError, msg=bad):
                parse(bad)

    def test_other_requests(self):
        self.serve()
        self.assertEqual(self.get("/metrics?x=1")[0].status, 200)
        self.assertEqual(self.get("/")[0].status, 404)
        self.assertEqual(self.get(method="POST")[0].status, 405)
        response, body = self.get(method="HEAD")
        self.assertEqual((response.status, body), (200, ""))
        self.assertGreater(int(response.getheader("Content-Length")), 1000)

    def raw(self, text):
        with socket.create_connection(("127.0.0.1", self.port), house.PATIENCE_SECONDS) as connection:
            connection.sendall(text)
            try:
                return connection.recv(100)
            except ConnectionResetError:
                return b""

    def test_nonsense_is_answered_or_hung_up_on(self):
        daemon = self.serve()
        self.assertTrue(self.raw(b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 "))
        self.assertTrue(self.raw(b"GET /metrics\r\n\r\n").startswith(b"HTTP/1.1 400 "))
        self.assertIn(self.raw(b"x" * 10000)[:13], (b"HTTP/1.1 431 ", b""))
        # Many that say nothing take no place for long from those who do.
        silent = [socket.create_connection(("127.0.0.1", self.port), house.PATIENCE_SECONDS) for _ in range(40)]
        for connection in silent:
            connection.close()
        self.eventually(lambda: self.raw(b"GET /metrics HTTP/1.1\r\n\r\n")[:15], b"HTTP/1.1 200 OK")
        self.assertEqual(daemon.end(), 0)

    def test_it_may_be_a_unix_socket(self):
        path = os.path.join(self.directory, "metrics")
        daemon = self.start("--openmetrics", path)
        parse(house.scrape(path).decode().split("\r\n\r\n", 1)[1])
        self.assertEqual(daemon.end(), 0)
        self.assertFalse(os.path.exists(path))

    def test_a_port_in_use(self):
        with socket.socket() as other:
            other.bind(("127.0.0.1", self.port))
            other.listen()
            self.assertIn("Address already in use", self.refused("--openmetrics", str(self.port)))
        self.assertFalse(os.path.exists(self.path))

    def test_an_address_that_everybody_reaches_is_warned_of(self):
        daemon = self.start("--openmetrics", f"0.0.0.0:{self.port}")
        self.assertIn("to everybody who reaches this address", daemon.log())


if __name__ == "__main__":
    house.main(sys.argv)
