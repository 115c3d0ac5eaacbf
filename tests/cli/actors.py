# SPDX-License-Identifier: Apache-2.0
"""What the tests of the command line share: processes to look at, and running `vinic`."""
import json
import os
import select
import signal
import subprocess
import tempfile
import unittest

PATIENCE_SECONDS = 60

# Set by main() of each test from its command line.
VINIC = ""
ACTOR = ""
GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden")


class Actor:
    """A process that has a device open and does as it is told (actor.cc)."""

    def __init__(self, directory, device):
        self.process = subprocess.Popen([ACTOR, device], env=dict(os.environ, VINIC_SHM_DIR=directory),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.pid = self.process.pid
        self.hear()

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self):
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_SECONDS)
        if not ready:
            raise AssertionError("an actor does not answer")
        answer = self.process.stdout.readline().split(maxsplit=1)
        if not answer or answer[0] != "ok":
            raise AssertionError(f"an actor failed: {answer}")
        return answer[1].strip() if len(answer) > 1 else ""

    def do(self, *lines):
        """The answer to the last one."""
        answer = ""
        for line in lines:
            self.tell(line)
            answer = self.hear()
        return answer

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def leave(self):
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.stdin.close()
            try:
                self.process.wait(PATIENCE_SECONDS)
            finally:
                self.process.kill()
                self.process.wait()
                self.process.stdout.close()


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        # For those who lock all others out of it: a memory file system, as devices are made for.
        place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        temporary = tempfile.TemporaryDirectory(prefix="cli-test-", dir=place)
        self.addCleanup(temporary.cleanup)
        self.directory = temporary.name
        self.environment = dict(os.environ, VINIC_SHM_DIR=self.directory)

    def actor(self, device="shm:demo"):
        actor = Actor(self.directory, device)
        self.addCleanup(actor.leave)
        return actor

    def path(self, name):
        return os.path.join(self.directory, "vinic-" + name)

    def run_vinic(self, *arguments, **options):
        return subprocess.run([VINIC, *arguments], env=self.environment, capture_output=True, text=True,
                              timeout=PATIENCE_SECONDS, check=False, **options)

    def vinic(self, *arguments, expect=0):
        """Standard output; nothing may be said on standard error."""
        done = self.run_vinic(*arguments)
        self.assertEqual((done.returncode, done.stderr), (expect, ""), f"vinic {arguments}\n{done.stdout}")
        return done.stdout

    def vinic_json(self, *arguments, expect=0):
        document = json.loads(self.vinic(*arguments, "-j", expect=expect))
        self.assertEqual(document["schema"], 1)
        return document

    def refused(self, *arguments, expect=1):
        """What is said on standard error: one line."""
        done = self.run_vinic(*arguments)
        self.assertEqual((done.returncode, done.stdout), (expect, ""), f"vinic {arguments}\n{done.stderr}")
        self.assertTrue(done.stderr.startswith("vinic: "), done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        return done.stderr

    def counters(self, *arguments):
        return self.vinic_json("counter", "show", *arguments)["counters"]

    def connected_pair(self):
        """A server with VI 0 and a client with VI 1, connected."""
        server = self.actor()
        client = self.actor()
        server.do("buffer 65536", "pages 1048576", "everything", "vi", "listen server")
        client.do("vi")
        server.tell("accept")
        client.do("connect server")
        server.hear()
        return server, client


def main(arguments):
    """NAME_test.py VINIC ACTOR [unittest's options]"""
    global VINIC, ACTOR
    VINIC, ACTOR = os.path.abspath(arguments[1]), os.path.abspath(arguments[2])
    unittest.main(module="__main__", argv=arguments[:1] + arguments[3:])
