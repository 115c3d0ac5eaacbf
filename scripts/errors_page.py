#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes docs/errors.md from the public header and from what the library itself says.

    scripts/errors_page.py build/release/bin/print_words            writes docs/errors.md
    scripts/errors_page.py --check build/release/bin/print_words    fails if it is not up to date

Numbers, names and meanings come from include/vinic/words.hpp; the cure of each code is the
sentence of describe().  What to do about a completion's status stands in STATUS_CURES below, and a
status that has none there is an error.  So the page cannot drift from the code.
"""
import argparse
import os
import re
import subprocess
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
HEADER = os.path.join(ROOT, "include", "vinic", "words.hpp")
PAGE = os.path.join(ROOT, "docs", "errors.md")

# Status: who made the mistake, and what to do.
STATUS_CURES = {
    "success": ("nobody", "nothing"),
    "local_protection": ("this side", "Look at the segment: is its key of a region of the VI's domain that is still "
                         "registered, does address + length lie inside it, does it have local_write if data comes in?"),
    "local_length": ("both", "Post receives as large as the largest message of the peer, or agree on "
                     "transfer_bytes_max."),
    "remote_protection": ("this side", "Look at the remote address and key: does the peer still have it registered, "
                          "with remote_write, remote_read or remote_atomic, in the domain of its VI, and does the "
                          "peer's VI allow the operation (rdma_write, rdma_read, rdma_atomic)?"),
    "remote_length": ("both", "As local_length, seen from the sender."),
    "remote_descriptor": ("the peer", "The peer closed a region that a posted receive still names; it must poll "
                          "or flush its receives first."),
    "receiver_not_ready": ("the peer", "Post more receives ahead, or let messages wait: vi_attributes::receiver_wait."),
    "bad_alignment": ("this side", "Put the word of an atomic at a multiple of 8."),
    "unreachable_memory": ("the machine", "Foreign memory needs the right to reach the other process: see "
                           "[memory.md](memory.md), or take the memory from nic::allocate. Over vinicd also: "
                           "one of the two functions has reached its memory limit, see [vinicd.md](vinicd.md)."),
    "flushed": ("nobody", "It was not executed and may be posted again once the VI is connected."),
    "connection_lost": ("the peer", "Its process is gone. disconnect() brings the VI back to idle; connect again when "
                        "there is somebody to connect to."),
}

ENUMERATOR = re.compile(r"^\s*(\w+)\s*=\s*(\d+),(?:\s*///<\s*(.*))?$")


def name_in_words(name):
    """For an enumerator that the header does not describe."""
    return name.replace("_", " ")


def enumerators(header, name):
    """(number, name, meaning) of `enum class NAME`, in the order of the header."""
    inside = False
    for line in header.split("\n"):
        if re.match(rf"\s*enum class {name}\b", line):
            inside = True
        elif inside and line.strip() == "};":
            return
        elif inside:
            found = ENUMERATOR.match(line)
            if not found:
                raise SystemExit(f"{HEADER}: enum {name}: cannot read: {line.strip()}")
            yield int(found.group(2)), found.group(1), found.group(3) or name_in_words(found.group(1))


def words_of_library(program):
    """{(kind, number): (name, sentence)} as the library says it."""
    output = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    rows = (line.split("\t") for line in output.split("\n") if line)
    return {(kind, int(number)): (name, sentence) for kind, number, name, sentence in rows}


def must_agree(kind, number, name, said):
    if said[(kind, number)][0] != name:
        raise SystemExit(f"{kind} {number} is {name} in the header, but {said[(kind, number)][0]} in the library")


def page(header, said):
    out = ["# Errors", "",
           "Made by `scripts/errors_page.py` from the public header and the library's own sentences; a test",
           "compares. Change those, not this page.", "",
           "Set-up calls return `result<T>`; its `error` has a code, the operating system's errno where there is",
           "one, and what was being done. `error::message()` puts it all in one sentence. The data path returns a",
           "bare code.",
           "What goes wrong after a descriptor was taken arrives as the `status` of its completion.", "",
           "## Codes (`vinic::errc`)", "", "| number | code | meaning | what the message says |", "|---|---|---|---|"]
    for number, name, meaning in enumerators(header, "errc"):
        must_agree("errc", number, name, said)
        out.append(f"| {number} | `{name}` | {meaning} | {said[('errc', number)][1]} |")
    out += ["", "## Status of a completion (`vinic::status`)", "",
            "| number | status | meaning | who | what to do |", "|---|---|---|---|---|"]
    for number, name, meaning in enumerators(header, "status"):
        must_agree("status", number, name, said)
        if name not in STATUS_CURES:
            raise SystemExit(f"status {name} has no line in scripts/errors_page.py")
        who, cure = STATUS_CURES[name]
        out.append(f"| {number} | `{name}` | {meaning} | {who} | {cure} |")
    return "\n".join(out) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("program", help="the built print_words")
    options = parser.parse_args()
    with open(HEADER, encoding="utf-8") as file:
        made = page(file.read(), words_of_library(options.program))
    if not options.check:
        with open(PAGE, "w", encoding="utf-8") as file:
            file.write(made)
        return 0
    with open(PAGE, encoding="utf-8") as file:
        if file.read() == made:
            return 0
    print(f"docs/errors.md is not what the code says; run: scripts/errors_page.py {options.program}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
