#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The output of `vinic`, word for word, as text and as JSON.

    golden_test.py VINIC ACTOR                         compares with golden/
    VINIC_UPDATE_GOLDEN=1 golden_test.py VINIC ACTOR   writes golden/ anew

What differs from run to run is replaced: process ids by roles, addresses and sizes by <...>.
"""
import json
import os
import re
import sys

import actors

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "cli.md")
# Values of these keys depend on the machine, the moment, or how much room the library takes.
VARIABLE = {"size_bytes", "buffer_bytes", "touched_bytes", "age_seconds", "start_time_ticks", "pid_namespace", "path",
            "user_id", "group_id", "user", "file_length_bytes", "span_bytes", "address", "file_offset", "directory",
            "epoch", "generation", "order", "uses_membarrier"}


class Golden(actors.Case):
    def setUp(self):
        super().setUp()
        self.server, self.client = self.connected_pair()
        self.server.do("receive 64 5", "listen files 1 2 255", "datagram mailbox")
        self.client.do("send 8 3", "reap 3")
        self.server.do("reap 3")

    def same_as(self, name, output):
        path = os.path.join(actors.GOLDEN, name)
        if os.environ.get("VINIC_UPDATE_GOLDEN"):
            with open(path, "w", encoding="utf-8") as file:
                file.write(output)
        with open(path, encoding="utf-8") as file:
            self.assertEqual(output, file.read(), f"{name} (VINIC_UPDATE_GOLDEN=1 writes it anew)")

    def role(self, pid):
        return {self.server.pid: "<server>", self.client.pid: "<client>"}.get(pid, pid)

    def plain(self, value, key=""):
        if isinstance(value, dict):
            return {k: self.plain(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [self.plain(v, key) for v in value]
        if key.endswith("pid"):
            return self.role(value)
        return f"<{key}>" if key in VARIABLE and value is not None else value

    def same_json(self, name, *arguments):
        document = self.plain(self.vinic_json(*arguments))
        self.same_as(name + ".json", json.dumps(document, indent=2) + "\n")

    def same_text(self, name, *arguments):
        """Alignment is checked elsewhere; here blanks count as one."""
        text = self.vinic(*arguments).replace(self.directory, "<directory>")
        for actor in (self.server, self.client):
            text = re.sub(rf"\b{actor.pid}\b", self.role(actor.pid), text)
        text = re.sub(r"\b0x[0-9a-f]{6,}\b", "<address>", text)
        text = re.sub(r"(size_bytes\{.*\}) \d+", r"\1 <size>", text)
        text = re.sub(r"(?<=\n    )(.*)\n   (?= )", r"\1 ", text)  # where details are wrapped depends on the values
        text = re.sub(r"(?<=\n    )(.*)\n   (?= )", r"\1 ", text)
        for key in VARIABLE:
            text = re.sub(rf"\b{key} [\w.]+", f"{key} <{key}>", text)
        lines = [" ".join(line.split()) for line in text.split("\n")]
        columns = {}
        for i, line in enumerate(lines):
            words = line.split(" ")
            if "PID" in words or "DEVICE" in words:
                columns = {c: "<user>" if word == "USER" else "<size>" for c, word in enumerate(words)
                           if word in ("BYTES", "BUFFER-BYTES", "TOUCHED-BYTES", "USER")}
            elif not line:
                columns = {}
            elif len(words) > max(columns, default=0) and text.split("\n")[i][:1] != " ":
                lines[i] = " ".join(columns.get(c, word) for c, word in enumerate(words))
        self.same_as(name + ".txt", "\n".join(lines))

    def both(self, name, *arguments):
        self.same_text(name, *arguments)
        self.same_json(name, *arguments)

    def test_devices(self):
        self.both("device_show", "device", "show")

    def test_device_in_detail(self):
        self.same_text("device_show_details", "device", "show", "demo", "-d")

    def test_processes(self):
        self.both("process_show", "process", "show", "demo")

    def test_vis(self):
        self.both("vi_show", "vi", "show", "demo")

    def test_one_vi(self):
        self.both("vi_show_one", "vi", "show", "demo", "1")

    def test_regions(self):
        self.both("region_show", "region", "show", "demo")

    def test_names_and_requests(self):
        self.client.do("vi", "peer left right")
        self.both("name_show", "name", "show", "demo")

    def test_completion_queues(self):
        self.both("cq_show", "cq", "show", "demo")

    def test_counters(self):
        self.both("counter_show", "counter", "show", "demo")

    def test_counters_of_one_vi(self):
        self.both("counter_show_vi", "counter", "show", "demo", "--vi", "1", "--nonzero")

    def test_the_page_shows_the_headings_and_counters_of_today(self):
        with open(PAGE, encoding="utf-8") as file:
            page = file.read()
        lines = {" ".join(line.split()) for line in page.split("\n")}
        for arguments in (("device", "show"), ("process", "show", "demo"), ("vi", "show", "demo"),
                          ("region", "show", "demo"), ("name", "show", "demo"), ("cq", "show", "demo"),
                          ("counter", "show", "demo")):
            heading = " ".join(self.vinic(*arguments).split("\n")[0].split())
            self.assertIn(heading, lines, f"docs/cli.md does not show the headings of vinic {' '.join(arguments)}")
        for name in self.counters("demo"):
            named = name if not name.endswith("_errors") else re.sub("^(?:tx|rx)_(.*)_errors$", r"\1", name)
            self.assertIn(f"`{named}`", page)

    def test_counters_for_prometheus(self):
        self.same_text("counter_show_openmetrics", "counter", "show", "demo", "--openmetrics", "--vi", "0,1")


if __name__ == "__main__":
    actors.main(sys.argv)
