#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The manual pages agree with vipl.h, with the library and with each other, and are good mdoc.

    man_test.py ROOT Words|Lint

Lint needs mandoc (Debian package of that name) and is skipped, with 77, where it is missing.
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import unittest


def read(*parts):
    with open(os.path.join(ROOT, *parts), encoding="utf-8") as file:
        return file.read()


def pages():
    return {os.path.basename(path): read(path) for path in sorted(glob.glob(os.path.join(ROOT, "man", "*.[37]")))}


def plain(text):
    """A declaration without what does not matter: white space, and IN and OUT."""
    text = re.sub(r"\b(IN OUT|IN|OUT) ", "", " ".join(text.split()))
    return re.sub(r" *\* *", "*", text)


def declarations():
    """name: (type, [parameter], codes that the comment above names), as vipl.h has it."""
    found = {}
    pattern = re.compile(r"/\*\*((?:(?!\*/).)*)\*/\s*VIPL_API (\w+) (\w+)\(([^;]*)\);", re.DOTALL)
    for comment, kind, name, parameters in pattern.findall(read("include", "vipl.h")):
        codes = set(re.findall(r"\bVIP_\w+", comment)) & return_codes()
        found[name] = (kind, [plain(p) for p in parameters.split(",")], codes)
    return found


def return_codes():
    body = re.search(r"typedef enum \{([^}]*)\} VIP_RETURN;", read("include", "vipl.h")).group(1)
    return set(re.findall(r"\bVIP_\w+", body))


def names(page):
    return re.findall(r"^\.Nm (\w+)(?: ,)?$", page, re.MULTILINE)


def synopsis(page):
    """name: (type, [parameter]), as a page has it."""
    pattern = re.compile(r"^\.Ft (\w+)\n\.Fo (\w+)\n((?:\.Fa \"[^\"]*\"\n)*)\.Fc$", re.MULTILINE)
    return {name: (kind, [plain(p) for p in re.findall(r'"([^"]*)"', parameters)])
            for kind, name, parameters in pattern.findall(page)}


class Words(unittest.TestCase):
    def test_every_function_has_a_page_with_its_declaration(self):
        declared = declarations()
        self.assertEqual(len(declared), len(re.findall(r"^VIPL_API ", read("include", "vipl.h"), re.MULTILINE)))
        told = {}
        for title, page in pages().items():
            for name, declaration in synopsis(page).items():
                self.assertNotIn(name, told, f"{title} declares it again")
                self.assertIn(name, names(page), f"{title} does not name it")
                told[name] = declaration
        self.assertEqual(told, {name: declaration[:2] for name, declaration in declared.items()})

    def test_a_page_is_called_after_its_first_name(self):
        for title, page in pages().items():
            self.assertEqual(names(page)[0] + title[-2:], title)
            self.assertIn(f".Dt {title[:-2].upper()} {title[-1]}\n", page)

    def test_what_the_header_says_of_return_codes_is_on_the_page(self):
        declared = declarations()
        for title, page in pages().items():
            for name in set(names(page)) & set(declared):
                for code in declared[name][2]:
                    self.assertRegex(page, rf"\b{code}\b", f"{title}: {name}")

    def test_nothing_is_named_that_the_header_does_not_have(self):
        header = set(re.findall(r"\bVIP_\w+", read("include", "vipl.h")))
        for title, page in pages().items():
            for word in re.findall(r"\bVIP_\w+", page):
                known = any(w.startswith(word) for w in header) if word.endswith("_") else word in header
                self.assertTrue(known, f"{title}: {word}")

    def test_the_overview_has_every_return_code(self):
        for code in return_codes():
            self.assertRegex(read("man", "vipl.7"), rf"\.It Dv [\w ,]*\b{code}\b|\.Dv {code}\b")

    def test_the_overview_has_every_variable_that_the_library_reads(self):
        read_by_it = set()
        for path in glob.glob(os.path.join(ROOT, "src", "vipl", "*.cc")):
            read_by_it |= set(re.findall(r'"(VINIC_VIPL_\w+)"', read(path)))
        told = set(re.findall(r"\.It Ev (VINIC_VIPL_\w+)", read("man", "vipl.7")))
        self.assertEqual(told, read_by_it)

    def test_references_lead_somewhere(self):
        known = {"vipl 7"} | {f"{name} {title[-1]}" for title, page in pages().items() for name in names(page)}
        for title, page in pages().items():
            for target in re.findall(r"^\.Xr (\w+ \d)", page, re.MULTILINE):
                if target.lower().startswith("vip"):
                    self.assertIn(target, known, title)


class Lint(unittest.TestCase):
    def test_mandoc_finds_nothing_to_warn_of(self):
        paths = sorted(glob.glob(os.path.join(ROOT, "man", "*.[378]")))
        found = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", *paths], capture_output=True, text=True)
        self.assertEqual(found.returncode, 0, found.stdout + found.stderr)


if __name__ == "__main__":
    ROOT = os.path.abspath(sys.argv[1])
    if sys.argv[2] == "Lint" and shutil.which("mandoc") is None:
        print("skipped: mandoc is not installed (Debian package mandoc)")
        sys.exit(77)
    unittest.main(argv=[sys.argv[0], sys.argv[2]])
