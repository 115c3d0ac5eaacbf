#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the pages say is true: their programs build and run, their links and limits are right.

    pages_test.py ROOT COMPILER LIBRARY_DIRECTORY

A block of C++ belongs to the file that its first line names ("// board.cc", or "// board.cc, continued").
"""
import os
import re
import subprocess
import sys
import tempfile
import unittest

PATIENCE_SECONDS = 60
BLOCK = re.compile(r"```cpp\n// ([\w.]+)(, continued)?\n(.*?)```", re.DOTALL)


def read(*parts):
    with open(os.path.join(ROOT, *parts), encoding="utf-8") as file:
        return file.read()


def pages():
    names = ["README.md", "STYLE.md", "CHANGELOG.md", "ARCHITECTURE.md"]
    names += [os.path.join("docs", name) for name in os.listdir(os.path.join(ROOT, "docs")) if name.endswith(".md")]
    return [name for name in names if os.path.exists(os.path.join(ROOT, name))]


class Programs(unittest.TestCase):
    def setUp(self):
        self.work = tempfile.TemporaryDirectory(prefix="vinic-pages-")
        self.addCleanup(self.work.cleanup)
        os.mkdir(self.path("shm"))
        self.environment = dict(os.environ, VINIC_SHM_DIR=self.path("shm"), LD_LIBRARY_PATH=LIBRARY_DIRECTORY)

    def path(self, name):
        return os.path.join(self.work.name, name)

    def build(self, page):
        sources = {}
        for name, continued, text in BLOCK.findall(read(page)):
            self.assertEqual(bool(continued), name in sources, f"{page}: {name}")
            sources[name] = sources.get(name, "") + text
        for name, text in sources.items():
            with open(self.path(name), "w", encoding="utf-8") as file:
                file.write(text)
        for name in sources:
            if name.endswith(".cc"):
                subprocess.run([COMPILER, "-std=c++23", "-Wall", "-Wextra", "-Werror",
                                "-I", os.path.join(ROOT, "include"), self.path(name),
                                "-o", self.path(name[:-3]), "-L", LIBRARY_DIRECTORY, "-lvinic"], check=True)

    def start(self, program, *arguments):
        process = subprocess.Popen([self.path(program), *arguments], env=self.environment, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def end(self, process):
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
        self.assertEqual(process.returncode, 0, output)
        return output

    def test_the_program_of_the_readme_does_what_it_says(self):
        self.build("README.md")
        left = self.start("pair", "left", "right")
        right = self.start("pair", "right", "left")
        self.assertEqual(self.end(left), "left got: greetings from right\n")
        self.assertEqual(self.end(right), "right got: greetings from left\n")
        self.assertEqual(os.listdir(self.path("shm")), [])

    def test_the_tutorial_prints_what_it_says(self):
        self.build("docs/tutorial.md")
        board = self.start("board")
        first = board.stdout.readline()
        self.end(self.start("feed"))
        shown = re.search(r"The board prints\n\n((?:    .*\n)+)", read("docs", "tutorial.md")).group(1)
        self.assertEqual(first + self.end(board), re.sub("^    ", "", shown, flags=re.MULTILINE))
        self.assertEqual(os.listdir(self.path("shm")), [])


class Words(unittest.TestCase):
    def test_links_lead_somewhere(self):
        for page in pages():
            text = re.sub(r"```.*?```", "", read(page), flags=re.DOTALL)
            for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
                if "://" not in target:
                    path = os.path.normpath(os.path.join(ROOT, os.path.dirname(page), target))
                    self.assertTrue(os.path.exists(path), f"{page} links to {target}")

    def test_the_limits_are_those_of_the_tables(self):
        layout = read("src", "abi", "layout.hpp")
        constants = dict(re.findall(r"constexpr std::uint32_t (\w+_count) = ([^;]+);", layout))
        rows = {"processes (open nics)": "process_count", "protection domains": "domain_count",
                "regions": "region_count", "completion queues": "cq_count", "virtual interfaces": "vi_count",
                "names": "name_count"}
        page = read("docs", "memory.md")
        for row, constant in rows.items():
            words = re.sub(r"(\d)u\b", r"\1", constants[constant])
            base, _, shift = words.partition("<<")
            value = int(base) << int(shift or 0)
            self.assertIn(f"| {row} | {value:,} |", page)


if __name__ == "__main__":
    ROOT, COMPILER, LIBRARY_DIRECTORY = (os.path.abspath(sys.argv[1]), sys.argv[2], os.path.abspath(sys.argv[3]))
    unittest.main(argv=sys.argv[:1])
