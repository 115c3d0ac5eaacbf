#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rules that a compiler does not check: STYLE.md says why each is there.

  layers   a folder includes only what stands below it
  length   a file stays under 400 lines, a function under 70
  spdx     a source file names its licence in its first lines
  opening  below that a C or C++ file says what it is for: "name.cc -- ..."
  text     no tabs, no white space at the end of a line, no line over 120 columns, one newline at the end
  words    nothing is left to be done later
  calls    the library and the controller make system calls in os/, or where system_calls.txt says
  doors    a public call that returns a result lets no exception out
  tests    every test that docs/checklist.md names is there
  names    C++ tests are written suite_in_snake_case.verb_phrase

Longer files and functions are listed in ratchet.txt with the length they may have, and files with
system calls in system_calls.txt; the lists may only become shorter.  Every rule is a function over
(path, lines) that yields (line number, message), so that tidy_test.py can try each of them on a few lines.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 120
CHECKLIST = "docs/checklist.md"

# What each folder of src/ may include from src/, besides itself: folders, and single headers of others.  The public
# header is all that programs which show how vinic is used may include; what stands below it includes only the words
# that both speak.
LAYERS = {
    "abi": set(),
    "rules": {"abi"},
    "os": {"rules/copy.hpp", "rules/pieces.hpp", "abi"},  # how bytes are stored, also in another process
    "tables": {"os", "rules", "abi"},
    "placement": {"tables", "os", "rules", "abi"},
    "direct": {"placement", "tables", "os", "rules", "abi"},
    "isolated": {"placement", "tables", "os", "rules", "abi"},
    "native": {"placement", "tables", "os", "rules", "abi"},
    "controller": {"os", "rules", "abi"},
    "vinicd": {"controller", "os", "abi"},
    # Looks into device files and asks vinicd; shares how rates are written, and what memory a control group leaves.
    "cli": {"vinicd/units.hpp", "vinicd/control_group.hpp", "direct/device_file.hpp", "direct/belief.hpp",
            "isolated/server.hpp", "tables", "os", "rules", "abi"},
    # Shares the measuring code of `vinic bench`, and measures parts of vinicd alone.
    "bench": {"cli", "controller", "isolated/server.hpp", "os", "abi"},
    # A face: the public native interface, vipl.h and itself.
    "vipl": {"os/cancellation.hpp", "os/kept_fd.hpp"},
    "demo": set(),
    "examples": set(),
}

# What a single file may include besides.
EXCEPTIONS = {
    "src/native/open.cc": {"direct/provider.hpp", "isolated/provider.hpp"},  # from an address to its placement
}

FACE = "vinic/vinic.hpp"
WORDS = "vinic/words.hpp"
BELOW_THE_FACE = {"abi", "rules", "os", "tables", "controller", "vinicd"}

CXX = (".c", ".cc", ".h", ".hpp")
SCRIPTS = (".py", ".sh", ".cmake")
# Assembled from parts, so that this file passes its own test.
BANNED_WORDS = ["TO" + "DO", "FIX" + "ME", "X" * 3]


def is_cxx(path):
    return path.endswith(CXX)


def is_source(path):
    name = os.path.basename(path)
    return is_cxx(path) or path.endswith(SCRIPTS) or name in ("CMakeLists.txt", "run", "check")


def folder_of(path):
    """The layer that a file belongs to, or None."""
    parts = path.split("/")
    if parts[0] in ("bench", "examples"):
        return parts[0]
    if parts[0] == "src" and len(parts) > 2:
        return parts[1]
    return None


INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]')


def layers(path, lines):
    folder = folder_of(path)
    if folder is None or not is_cxx(path):
        return
    if folder not in LAYERS:
        yield 1, f"folder {folder} has no place among the layers of tests/tidy/tidy.py"
        return
    for number, line in enumerate(lines, 1):
        found = INCLUDE.match(line)
        if not found or "/" not in found.group(1):
            continue
        below = found.group(1).split("/")
        if ".." in below:
            yield number, "an include must not climb with .."
        elif found.group(1) == FACE and folder in BELOW_THE_FACE:
            yield number, f"{folder} must not include {FACE}: {WORDS} has what it may know of"
        elif (below[0] in LAYERS and below[0] != folder
              and not {below[0], found.group(1)} & LAYERS[folder]
              and found.group(1) not in EXCEPTIONS.get(path, ())):
            yield number, f"{folder} must not include {found.group(1)}"


def without_comments_and_strings(lines):
    """The same lines with comments, strings and characters blanked; good enough to count braces."""
    text = "\n".join(lines)
    pattern = re.compile("|".join([
        r"//[^\n]*",
        r"/\*.*?\*/",
        r'R"(?P<mark>[^(\s]*)\(.*?\)(?P=mark)"',
        r'"(?:\\.|[^"\\\n])*"',
        r"(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'",  # but not the ' of 10'000
    ]), re.DOTALL)
    return pattern.sub(lambda m: "\n" * m.group(0).count("\n"), text).split("\n")


NOT_A_FUNCTION = re.compile(r"\b(?:namespace|struct|class|union|enum|extern)\b[^()]*$")


def functions(lines):
    """Yields (first line, length) of the outermost functions."""
    opened = []  # (is function, first line) of each brace that is open
    head, head_line = "", 0
    for number, line in enumerate(without_comments_and_strings(lines), 1):
        if line.lstrip().startswith("#"):
            continue
        for character in line:
            if character == "{":
                inside = any(is_function for is_function, _ in opened)
                is_function = not inside and "(" in head and not NOT_A_FUNCTION.search(head)
                opened.append((is_function, head_line or number))
                head, head_line = "", 0
            elif character == "}":
                if opened:
                    is_function, first = opened.pop()
                    if is_function:
                        yield first, number - first + 1
                head, head_line = "", 0
            elif character == ";":
                head, head_line = "", 0
            else:
                if not character.isspace() and not head_line:
                    head_line = number
                head += character
        head += " "


def length(path, lines, ratchet=None):
    ratchet = ratchet or {}
    if not is_source(path):
        return
    allowed = ratchet.get((path, "file"), FILE_LINES_MAX)
    if len(lines) > allowed:
        yield 1, f"the file has {len(lines)} lines; at most {allowed}"
    if not is_cxx(path):
        return
    allowed = ratchet.get((path, "function"), FUNCTION_LINES_MAX)
    for first, count in functions(lines):
        if count > allowed:
            yield first, f"a function has {count} lines; at most {allowed}"


def spdx(path, lines):
    if is_source(path) and not any("SPDX-License-Identifier: Apache-2.0" in line for line in lines[:3]):
        yield 1, "no SPDX-License-Identifier: Apache-2.0 in the first lines"


OPENING = re.compile(r"(?://| \*) (\S+) -- \S")


def opening(path, lines):
    if not is_cxx(path):
        return
    found = OPENING.match(lines[2]) if len(lines) > 2 and lines[1] in ("//", " *") else None
    if not found or found[1] != os.path.basename(path):
        yield 3, f"the third line does not say what the file is for: '// {os.path.basename(path)} -- ...'"


def text(path, lines):
    if not is_source(path):
        return
    for number, line in enumerate(lines, 1):
        if "\t" in line:
            yield number, "a tab"
        if line != line.rstrip():
            yield number, "white space at the end of the line"
        if len(line) > COLUMNS_MAX:
            yield number, f"{len(line)} columns; at most {COLUMNS_MAX}"
    if lines and lines[-1] == "":
        yield len(lines), "empty lines at the end"


def words(path, lines):
    pattern = re.compile(r"\b(" + "|".join(BANNED_WORDS) + r")\b")
    for number, line in enumerate(lines, 1):
        found = pattern.search(line)
        if found:
            yield number, f"the word {found.group(1)}: do it now, or file an issue"


DOOR = re.compile(r"^result<.*>\s"
                  r"(?:nic|domain|region|completion_queue|virtual_interface|listener|connection_request)::\w+\(")


def doors(path, lines):
    if not path.startswith("src/native/") or not path.endswith(".cc"):
        return
    for number, line in enumerate(lines, 1):
        if DOOR.match(line):
            head = next((l for l in lines[number - 1:] if l.endswith(("{", ";"))), "")
            if not head.endswith(" try {"):
                yield number, "a public call that lets exceptions out: see src/placement/call.hpp"


TEST_NAMES = re.compile(r"(?:INSTANTIATE_)?(?:TYPED_)?TEST(?:_\w+)?\(([\w\s,]+)")


def names(path, lines):
    if not path.endswith((".cc", ".hpp")):
        return
    for number, line in enumerate(lines, 1):
        # A list of names may go on in the next line.
        found = TEST_NAMES.match(line) and TEST_NAMES.match(" ".join(lines[number - 1:number + 1]))
        if found and re.search("[A-Z]", ",".join(found[1].split(",")[:2])):
            yield number, "a test is a sentence in lower case: TEST(suite, verb_phrase)"


def tests_of(lines):
    """What checklist.md may call the tests in a file: suite, suite.name, or a method of a Python test."""
    for line in lines:
        if match := re.match(r"TEST(?:_F|_P)?\((\w+), (\w+)", line):
            yield match[1]
            yield f"{match[1]}.{match[2]}"
        elif match := re.match(r"TEST(?:_F|_P)?\((\w+),$", line):
            yield match[1]
        elif match := re.match(r" *def (test_\w+)\(", line):
            yield match[1]


def named_tests(lines, known):
    """Tests that a page names in the last column of its tables."""
    for number, line in enumerate(lines, 1):
        if line.startswith("|"):
            for name in re.findall(r"`([\w.]+)`", line.rstrip("|").rsplit("|", 1)[-1]):
                if name not in known:
                    yield number, f"no test is called {name}"


CALLERS = {"abi", "tables", "placement", "direct", "isolated", "native", "controller", "vipl"}
SYSTEM_CALL = re.compile(r"(?<![\w>])(?:::|std::)(" + "|".join(
    """
    open openat close fopen opendir read pread readv write pwrite writev lseek unlink unlinkat rename mkdir
    mkdtemp access readlink stat lstat fstat statfs fstatfs statvfs fallocate posix_fallocate ftruncate chmod
    fchmod chown fchown umask fcntl ioctl flock dup dup2 dup3 pipe2 eventfd timerfd_create signalfd memfd_create
    epoll_create1 epoll_ctl epoll_wait poll ppoll socket socketpair connect bind listen accept accept4 shutdown
    send sendto sendmsg recv recvfrom recvmsg setsockopt getsockopt mmap mremap munmap mprotect madvise mlock
    mincore fork execv execve execvp kill waitpid prctl syscall getrlimit setrlimit sysconf sched_getaffinity
    sched_setaffinity nanosleep clock_nanosleep usleep getrandom process_vm_readv process_vm_writev
    pthread_sigmask sigaction
    """.split()) + r")\(")


def system_calls(path, lines):
    """(line number, name) of each system call of a file that should leave them to os/."""
    if folder_of(path) in CALLERS and is_cxx(path):
        for number, line in enumerate(without_comments_and_strings(lines), 1):
            for name in SYSTEM_CALL.findall(line):
                yield number, name


def calls(path, lines, listed):
    """`listed`: {path: names}."""
    for number, name in system_calls(path, lines):
        if name not in listed.get(path, ()):
            yield number, f"{name}() is called outside of src/os: give it a function there, which a test can let fail"


def check_listed_calls(root, listed):
    for path, names in listed.items():
        try:
            made = {name for _, name in system_calls(path, read(os.path.join(root, path)))}
        except OSError:
            made = set()
        for name in sorted(set(names) - made):
            yield path, 1, f"does not call {name}() any more: remove it from tests/tidy/system_calls.txt"


def read_listed_calls(path):
    """Lines of "PATH NAME..."."""
    with open(path, encoding="utf-8") as file:
        lines = [line.split("#")[0].split() for line in file]
    return {fields[0]: fields[1:] for fields in lines if fields}


def read_ratchet(path):
    """Lines of "PATH file|function LENGTH"."""
    ratchet = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            fields = line.split("#")[0].split()
            if fields:
                ratchet[(fields[0], fields[1])] = int(fields[2])
    return ratchet


def check_file(path, lines, ratchet):
    for rule in (layers, spdx, opening, text, words, doors, names):
        yield from rule(path, lines)
    yield from length(path, lines, ratchet)


def check_ratchet(root, ratchet):
    """A listed length that is clearly not needed any more must go."""
    for (path, kind), allowed in ratchet.items():
        try:
            lines = read(os.path.join(root, path))
        except OSError:
            yield path, 1, "is in tests/tidy/ratchet.txt but does not exist"
            continue
        limit = FILE_LINES_MAX if kind == "file" else FUNCTION_LINES_MAX
        longest = len(lines) if kind == "file" else max((count for _, count in functions(lines)), default=0)
        if longest <= limit - limit // 10:
            yield path, 1, f"is short enough now: remove its {kind} line from tests/tidy/ratchet.txt"
        elif longest < allowed - allowed // 10:
            yield path, 1, f"has {longest} lines now: lower its {kind} line in tests/tidy/ratchet.txt"


def read(path):
    with open(path, encoding="utf-8") as file:
        content = file.read()
    return content.split("\n")[:-1] if content.endswith("\n") else content.split("\n")


def files_of(root):
    """What git knows or would add; without git, everything but build directories."""
    if shutil.which("git"):
        listed = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard", "-z"],
                                capture_output=True, check=False)
        if listed.returncode == 0 and listed.stdout:
            return sorted(path for path in listed.stdout.decode().split("\0") if path)
    found = []
    for directory, folders, names in os.walk(root):
        folders[:] = [f for f in folders if f not in ("build", ".git")]
        found += [os.path.relpath(os.path.join(directory, name), root) for name in names]
    return sorted(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?", default=os.path.join(os.path.dirname(__file__), "..", ".."))
    root = os.path.abspath(parser.parse_args().root)
    ratchet = read_ratchet(os.path.join(root, "tests", "tidy", "ratchet.txt"))
    listed = read_listed_calls(os.path.join(root, "tests", "tidy", "system_calls.txt"))
    problems = list(check_ratchet(root, ratchet)) + list(check_listed_calls(root, listed))
    count = 0
    known, page = set(), []
    for path in files_of(root):
        try:
            lines = read(os.path.join(root, path))
        except (UnicodeDecodeError, IsADirectoryError, FileNotFoundError):
            continue  # binary data, or removed but not yet committed so
        count += 1
        problems += [(path, number, message) for number, message in check_file(path, lines, ratchet)]
        problems += [(path, number, message) for number, message in calls(path, lines, listed)]
        if path.startswith("tests/"):
            known.update(tests_of(lines))
        elif path == CHECKLIST:
            page = lines
    problems += [(CHECKLIST, number, message) for number, message in named_tests(page, known)]
    for path, number, message in problems:
        print(f"{path}:{number}: {message}")
    print(f"tidy: {count} files, {len(problems)} problems")
    return 1 if problems or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
