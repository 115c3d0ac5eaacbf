#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each rule of tidy.py finds what it is there for, and leaves good files alone."""
import os
import sys
import unittest
import unittest.mock

sys.dont_write_bytecode = True  # the source tree stays as it is
import tidy  # noqa: E402


def found(rule, path, source, *more):
    return list(rule(path, source.split("\n"), *more))


class Layers(unittest.TestCase):
    def test_a_folder_may_include_what_stands_below(self):
        self.assertEqual(found(tidy.layers, "src/tables/a.cc", '#include "abi/ring.h"\n#include "os/futex.h"'), [])
        self.assertEqual(found(tidy.layers, "src/native/a.cc", '#include "tables/vi.h"'), [])
        self.assertEqual(found(tidy.layers, "src/abi/a.h", '#include "abi/words.h"\n#include <sys/mman.h>'), [])

    def test_a_folder_must_not_include_what_stands_above_or_beside(self):
        for path, include in [("src/abi/a.h", "os/futex.h"), ("src/os/a.cc", "tables/vi.h"),
                              ("src/rules/a.cc", "os/futex.h"), ("src/controller/a.cc", "tables/vi.h"),
                              ("src/tables/a.cc", "native/nic.h"), ("src/native/a.cc", "cli/main.h"),
                              ("src/demo/a.cc", "tables/vi.h"), ("examples/a.cc", "native/nic.h")]:
            self.assertEqual(len(found(tidy.layers, path, f'#include "{include}"')), 1, (path, include))

    def test_of_a_folder_beside_it_one_header_may_be_allowed(self):
        self.assertEqual(found(tidy.layers, "src/vipl/a.cc", '#include "os/cancellation.hpp"'), [])
        self.assertEqual(len(found(tidy.layers, "src/vipl/a.cc", '#include "os/file.hpp"')), 1)
        self.assertEqual(len(found(tidy.layers, "bench/a.cc", '#include "tables/memory.hpp"')), 1)

    def test_one_file_alone_knows_the_placements(self):
        for below in ("direct/provider.hpp", "isolated/provider.hpp"):
            self.assertEqual(found(tidy.layers, "src/native/open.cc", f'#include "{below}"'), [])
            self.assertEqual(len(found(tidy.layers, "src/native/nic.cc", f'#include "{below}"')), 1)
            self.assertEqual(len(found(tidy.layers, "src/placement/vi.cc", f'#include "{below}"')), 1)
        self.assertEqual(len(found(tidy.layers, "src/direct/vi.cc", '#include "isolated/vi.hpp"')), 1)

    def test_includes_must_not_climb(self):
        self.assertEqual(len(found(tidy.layers, "src/os/a.cc", '#include "../abi/ring.h"')), 1)
        self.assertEqual(len(found(tidy.layers, "src/tables/a.cc", "#include <vinic/vinic.hpp>")), 1)

    def test_a_new_folder_must_be_given_its_place(self):
        self.assertEqual(len(found(tidy.layers, "src/elsewhere/a.cc", "")), 1)


class Length(unittest.TestCase):
    def test_a_file_may_have_400_lines(self):
        self.assertEqual(found(tidy.length, "src/os/a.cc", "\n" * 399), [])
        self.assertEqual(len(found(tidy.length, "src/os/a.cc", "\n" * 400)), 1)

    def test_the_ratchet_allows_more(self):
        self.assertEqual(found(tidy.length, "a.cc", "\n" * 400, {("a.cc", "file"): 401}), [])

    def test_a_function_may_have_70_lines(self):
        def function(lines):
            return "int f(int a) {\n" + "    ++a;\n" * (lines - 2) + "}"
        self.assertEqual(found(tidy.length, "a.cc", function(70)), [])
        self.assertEqual(found(tidy.length, "a.cc", function(71)), [(1, "a function has 71 lines; at most 70")])

    def test_functions_are_told_from_classes_namespaces_and_what_is_inside(self):
        source = """namespace a {
struct s {
    void f() const noexcept {
        if (x) { auto l = [] { return '{'; }; }
        // a brace in a comment: {
        const char* text = "and in a string {";
    }
    int g = 0;
};
enum class e { one };
void h(
    int a) {
}
}"""
        self.assertEqual(list(tidy.functions(source.split("\n"))), [(3, 5), (11, 3)])


class Opening(unittest.TestCase):
    def test_a_file_says_what_it_is_for(self):
        licence = "// SPDX-License-Identifier: Apache-2.0\n"
        self.assertEqual(found(tidy.opening, "src/os/a.cc", licence + "//\n// a.cc -- what it adds to a.hpp."), [])
        self.assertEqual(found(tidy.opening, "b.h", "/* SPDX */\n *\n * b.h -- what C programs see.\n */"), [])
        self.assertEqual(found(tidy.opening, "a.py", "import os"), [])
        for bad in ['#include "a.hpp"', '//\n#include "a.hpp"', "//\n// b.cc -- another file's.", "//\n// a.cc --",
                    "//\n// What it adds to a.hpp.", "// a.cc -- too early.", ""]:
            self.assertEqual(len(found(tidy.opening, "src/os/a.cc", licence + bad)), 1, bad)


class Names(unittest.TestCase):
    def test_tests_are_sentences_in_lower_case(self):
        for good in ["TEST(suite, does_what_it_should) {", "TEST_P(suite,\n       does_what_it_should) {",
                     "INSTANTIATE_TEST_SUITE_P(engines, suite, testing::Values(1));", "TESTING(Other, Thing)"]:
            self.assertEqual(found(tidy.names, "tests/a_test.cc", good), [], good)
        for bad in ["TEST(Suite, does_it) {", "TEST_F(suite, DoesIt) {", "TEST_P(suite,\n       DoesIt) {",
                    "INSTANTIATE_TEST_SUITE_P(Engines, suite, testing::Values(1));"]:
            self.assertEqual([number for number, _ in found(tidy.names, "tests/a_test.cc", bad)], [1], bad)


class Doors(unittest.TestCase):
    def test_a_public_call_lets_no_exception_out(self):
        bad = "result<std::size_t> nic::f(int a,\n                          int b) const {\n}"
        good = bad.replace("const {", "const try {")
        self.assertEqual([number for number, _ in found(tidy.doors, "src/native/a.cc", bad)], [1])
        self.assertEqual(found(tidy.doors, "src/native/a.cc", good), [])
        self.assertEqual(found(tidy.doors, "src/native/a.cc", "result<void> vi_state::f() {"), [])
        self.assertEqual(found(tidy.doors, "src/tables/a.cc", bad), [])


class Tests(unittest.TestCase):
    def test_what_a_page_calls_a_test_is_one(self):
        known = set(tidy.tests_of(["TEST(suite, name) {", "TEST_P(other, name) {", "    def test_it(self):"]))
        page = ["| X1 | `no.test` is looked for here | `suite.name`, all of `other`, `test_it` |", "`no.test` nor here"]
        self.assertEqual(list(tidy.named_tests(page, known)), [])
        self.assertEqual(len(list(tidy.named_tests(["| X1 | duty | `suite.nothing` |"], known))), 1)


class Calls(unittest.TestCase):
    def test_system_calls_are_made_in_os(self):
        source = 'int fd = ::open(path, 0);  // not ::close(fd)\nstd::fopen("::read(", "r"); o->poll(); x::send();'
        self.assertEqual(found(tidy.system_calls, "src/native/a.cc", source), [(1, "open"), (2, "fopen")])
        self.assertEqual(found(tidy.system_calls, "src/os/a.cc", source), [])
        self.assertEqual(found(tidy.system_calls, "src/cli/a.cc", source), [])

    def test_or_where_the_list_allows_it(self):
        self.assertEqual(found(tidy.calls, "src/tables/a.cc", "::open(p);", {"src/tables/a.cc": ["open"]}), [])
        self.assertEqual(len(found(tidy.calls, "src/tables/a.cc", "::open(p);", {"src/tables/b.cc": ["open"]})), 1)
        self.assertEqual(len(found(tidy.calls, "src/tables/a.cc", "::close(p);", {"src/tables/a.cc": ["open"]})), 1)


class Files(unittest.TestCase):
    def test_they_are_found_where_there_is_no_git(self):
        root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
        with unittest.mock.patch.dict(os.environ, {"PATH": "/nowhere"}):
            found = tidy.files_of(root)
        self.assertIn("tests/tidy/tidy.py", found)
        self.assertFalse([path for path in found if path.startswith("build/")])


class Words(unittest.TestCase):
    def test_every_rule_about_text_finds_its_fault(self):
        self.assertEqual(len(found(tidy.spdx, "a.cc", "int a;")), 1)
        self.assertEqual(found(tidy.spdx, "a.cc", "// SPDX-License-Identifier: Apache-2.0"), [])
        for line in ["\tint a;", "int a; ", "x" * 121, "int a;\n"]:
            self.assertEqual(len(found(tidy.text, "a.cc", line)), 1, line)
        for word in tidy.BANNED_WORDS:
            self.assertEqual(len(found(tidy.words, "README.md", f"// {word}: later")), 1)
        self.assertEqual(found(tidy.words, "a.cc", 'mkstemp("/tmp/' + "X" * 6 + '")'), [])


if __name__ == "__main__":
    unittest.main()
