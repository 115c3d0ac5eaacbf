# SPDX-License-Identifier: Apache-2.0
"""What the tests of vinicd share: starting one, being its client and its administrator.

    NAME_test.py VINICD double|real [VINIC] [unittest's options]

`double`: the device moves nothing and its figures are known (device_double.cc).
"""
import json
import os
import signal
import socket
import struct
import subprocess
import tempfile
import time
import unittest
import warnings

PATIENCE_SECONDS = 30

# Set by main() of each test from its command line.
VINICD = ""
VINIC = ""
REAL = False

MAGIC = 0x31776369_6E6976
VERSION = 5
NOBODY = 65534
LIMIT_REACHED = 7  # errc::limit_reached
BUSY = 9           # errc::busy
reply_header = struct.Struct("<IIIIQII")  # answers whoever attaches or is refused; why not follows, in 112 bytes
needs_root = unittest.skipUnless(os.geteuid() == 0, "only root can become somebody else")


def needs_double(test):
    """Decided when the test runs: what is tested is not known before."""
    def run(self):
        if REAL:
            self.skipTest("figures of the double")
        test(self)
    run.__name__ = test.__name__
    return run


def needs_real(test):
    def run(self):
        if not REAL:
            self.skipTest("what the double does not do")
        test(self)
    run.__name__ = test.__name__
    return run


def send_with_descriptors(connection, packet, descriptors):
    """The packet with them, or alone where the kernel lets none through (Linux 6.16 and later)."""
    try:
        socket.send_fds(connection.socket, [packet], descriptors)
    except PermissionError:
        connection.send(packet)


def attach_packet(function, magic=MAGIC, version=VERSION, kind=1):
    return struct.pack("<QIIII", magic, version, kind, function, 0)


def enter_packet(context, kind=2):
    return struct.pack("<II", kind, context)


class Refused(Exception):
    """vinicd has no place or no time for who asks, and says why."""


def until_let_in(what):
    """What `what` returns, in the end: strangers share a place and a time, which a slow machine has less of."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return what()
        except (Refused, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


class Connection:
    """A packet socket to vinicd."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # As the library and `vinic` do: whoever waits for its turn to connect is not turned away.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", PATIENCE_SECONDS, 0))
        self.socket.connect(path)
        self.socket.settimeout(PATIENCE_SECONDS)
        self.descriptors = []

    def send(self, packet):
        self.socket.send(packet)

    def receive(self):
        return self.socket.recv(65536)

    def has_hung_up(self):
        try:
            return self.receive() == b""
        except ConnectionResetError:
            return True

    def ask(self, **request):
        self.send(json.dumps(request).encode())
        reply = self.receive()
        if not reply.startswith(b"{"):
            raise Refused(reply[reply_header.size:].split(b"\0")[0].decode() or "hung up")
        return json.loads(reply)

    def attach(self, function, **wrong):
        """(code, version, function, epoch, window bytes, process, foreign)"""
        self.send(attach_packet(function, **wrong))
        packet, self.descriptors, _, _ = socket.recv_fds(self.socket, 1024, 8)
        self.why = packet[reply_header.size:].split(b"\0")[0].decode()
        return reply_header.unpack(packet[:reply_header.size])

    def enter(self, context):
        """(code, epoch of the context)"""
        self.send(enter_packet(context))
        return struct.unpack("<II", self.receive())

    def close(self):
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = []
        self.socket.close()


def client(path, function, context=None):
    """A client that uses a context, or has attached only if that is None.  As the library does, it comes again while
    what was there before is cleared away."""
    def once():
        connection = Connection(path)
        connection.why = ""
        code = connection.attach(function)[0]
        if code == 0 and context is not None:
            code = connection.enter(context)[0]
        if code == 0:
            return connection
        connection.close()
        if code in (BUSY, LIMIT_REACHED):
            raise Refused(connection.why or f"context {context} is busy")
        raise AssertionError(f"{code}: {connection.why}")
    return until_let_in(once)


def attached(path, function):
    return client(path, function)


def attach(path, function):
    """(code, why not), of one that comes again if there is no time for it."""
    def once():
        connection = Connection(path)
        code = connection.attach(function)[0]
        connection.close()
        if code in (BUSY, LIMIT_REACHED):
            raise Refused(connection.why)
        return code, connection.why
    return until_let_in(once)


class Daemon:
    """A vinicd, with what it tells its service manager."""

    def __init__(self, case, arguments, **options):
        self.log_path = os.path.join(case.directory, f"log{len(case.daemons)}")
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.settimeout(PATIENCE_SECONDS)
        path = os.path.join(case.directory, f"notify{len(case.daemons)}")
        self.notify.bind(path)
        os.chmod(path, 0o777)
        environment = dict(os.environ, NOTIFY_SOCKET=path) | options.pop("environment", {})
        with open(self.log_path, "w", encoding="utf-8") as log:
            program = options.pop("program", VINICD)
            errors = options.pop("stderr", log)
            self.process = subprocess.Popen([program, *arguments], env=environment, stdout=log, stderr=errors,
                                            **options)
        self.pid = self.process.pid

    def told(self):
        """The next thing that the service manager is told."""
        return self.notify.recv(4096).decode()

    def wait_until_ready(self, case):
        deadline = time.monotonic() + PATIENCE_SECONDS
        self.notify.settimeout(0.05)
        while True:
            try:
                case.assertEqual(self.told(), "READY=1")
                break
            except TimeoutError:
                case.assertIsNone(self.process.poll(), self.log())
                case.assertLess(time.monotonic(), deadline, self.log())
        self.notify.settimeout(PATIENCE_SECONDS)

    def log(self):
        with open(self.log_path, encoding="utf-8") as file:
            return file.read()

    def send(self, number):
        self.process.send_signal(number)

    def end(self, number=signal.SIGTERM):
        """Its exit code."""
        if self.process.poll() is None:
            self.send(number)
        return self.process.wait(PATIENCE_SECONDS)


def scrape(path):
    """What is answered to whoever asks for the counters at a Unix socket, headers and all."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect(path)
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        text = b""
        while piece := connection.recv(65536):
            text += piece
        return text


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="vinicd-test-")
        self.addCleanup(temporary.cleanup)
        self.directory = temporary.name
        os.chmod(self.directory, 0o755)
        self.path = os.path.join(self.directory, "socket")
        self.daemons = []

    def start(self, *arguments, ready=True, path=True, **options):
        where = ["--socket", self.path] if path else []
        daemon = Daemon(self, ["--window", "512MiB", *where, *arguments], **options)
        self.daemons.append(daemon)
        self.addCleanup(self.finish, daemon)
        if ready:
            daemon.wait_until_ready(self)
        return daemon

    def finish(self, daemon):
        if daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()
        daemon.notify.close()

    def refused(self, *arguments, code=1, path=True, **options):
        """What a vinicd says that does not even begin."""
        daemon = self.start(*arguments, ready=False, path=path, **options)
        self.assertEqual(daemon.process.wait(PATIENCE_SECONDS), code, daemon.log())
        said = daemon.log()
        for line in said.splitlines():
            self.assertTrue(line.startswith("vinicd: ") or ": warning: " in line or ": info: " in line, said)
        return said

    def connect(self):
        connection = Connection(self.path)
        self.addCleanup(connection.close)
        return connection

    def attached(self, function):
        connection = attached(self.path, function)
        self.addCleanup(connection.close)
        return connection

    def client(self, function, context):
        """Somebody who uses a context."""
        connection = client(self.path, function, context)
        self.addCleanup(connection.close)
        return connection

    def function(self, name):
        connection = self.connect()
        reply = connection.ask(command="function", function=name)
        connection.close()
        return reply

    def eventually(self, what, wanted):
        """Waits until what() is as wanted."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (seen := what()) != wanted:
            self.assertLess(time.monotonic(), deadline, f"{seen} instead of {wanted}")
            time.sleep(0.01)

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def somebody(self, code, user=NOBODY, group=NOBODY, groups=()):
        """A process of another user that runs `code` with this file's names and `path`: (process, its output).

        It is forked and not started: that user may have no right to the interpreter.
        """
        read_end, write_end = os.pipe()
        process = os.fork()
        if process == 0:
            status = 1
            try:
                os.dup2(write_end, 1)
                warnings.simplefilter("ignore")  # what it leaves open the kernel closes
                os.setgroups(list(groups))
                os.setgid(group)
                os.setuid(user)
                with open(1, "w", encoding="utf-8", closefd=False) as out:
                    exec(code, dict(globals(), path=self.path, out=out))  # the tests' own words
                status = 0
            except BaseException as why:  # it must not come back into the test
                os.write(1, repr(why).encode())
            os._exit(status)
        os.close(write_end)
        return process, os.fdopen(read_end, encoding="utf-8")

    def as_somebody_else(self, code, **who):
        """What `code` prints to `out` as another user."""
        process, output = self.somebody(code, **who)
        with output:
            text = output.read()
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), 0, text)
        return text.strip()


def main(arguments):
    global VINICD, VINIC, REAL
    VINICD, REAL = os.path.abspath(arguments[1]), arguments[2] == "real"
    VINIC = os.path.abspath(arguments[3]) if len(arguments) > 3 else ""
    unittest.main(module="__main__", argv=arguments[:1] + arguments[4:])
