# SPDX-License-Identifier: Apache-2.0
"""A vinicd of our own, its administration, and tenants that obey orders."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PATIENCE_S = 30


class Failure(Exception):
    """What went wrong, as a sentence."""


def favour(process_id, nice):
    """Its place in the queue for a core, among all that runs on this machine; refused to ordinary users below 0.

    Where the kernel groups processes by session, a nice value counts inside a session only; each process of ours
    leads one of its own, and what counts between sessions is the session's.
    """
    try:
        os.setpriority(os.PRIO_PROCESS, process_id, nice)
        pathlib.Path(f"/proc/{process_id}/autogroup").write_text(str(nice))
    except OSError:
        pass


class Device:
    """A vinicd in a directory of its own; `cores` is what it may run on."""

    def __init__(self, program, options, cores):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="vinic-isolation-"))
        self.socket_path = str(self.directory / "s")
        self.log_path = self.directory / "log"
        self.directory.chmod(0o711)
        words = [program, "--socket", self.socket_path, "--mode", "0666", "--log-level", "warning", *options]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(words, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                                            preexec_fn=lambda: os.sched_setaffinity(0, cores))
        favour(self.process.pid, -20)
        # CPUCLOCK_SCHED of a process, as clock_getcpuclockid() makes it: the time that the kernel gives the device.
        self.clock = (~self.process.pid << 3) | 2
        self.administration = None
        end = time.monotonic() + PATIENCE_S
        while self.administration is None:
            if self.process.poll() is not None or time.monotonic() > end:
                raise Failure(f"vinicd does not come up: {self.log_path.read_text().strip()}")
            try:
                connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                connection.connect(self.socket_path)
                connection.settimeout(PATIENCE_S)
                self.administration = connection
            except OSError:
                connection.close()
                time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.administration.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = "nothing: it was killed"
        log = self.log_path.read_text()
        shutil.rmtree(self.directory, ignore_errors=True)
        if code != 0:
            raise Failure(f"vinicd ended with {code}: {log.strip()}")
        if kind is not None and log:
            print(f"vinicd said: {log.strip()[-2000:]}", file=sys.stderr)

    def ask(self, **request):
        self.administration.send(json.dumps(request).encode())
        reply = json.loads(self.administration.recv(1 << 16))
        if "error" in reply:
            raise Failure(f"{request}: {reply['error']['message']}")
        return reply

    def function(self, number):
        return self.ask(command="function", function=f"vf{number}")

    def set(self, number, **settings):
        return self.ask(command="set", function=f"vf{number}", **settings)

    def sample(self, numbers):
        """{number: counters}, each with the moment at which it was read."""
        found = {}
        for number in numbers:
            before = time.monotonic_ns()
            counters = self.function(number)["counters"]
            counters["at_ns"] = (before + time.monotonic_ns()) // 2
            counters["device_ns"] = time.clock_gettime_ns(self.clock)
            found[number] = counters
        return found


class Tenant:
    """A bench_isolation process on `cores`, of `user` if that is not None."""

    def __init__(self, program, role, name, device, functions, cores, user=None):
        words = [program, role, name, device.socket_path, *(str(number) for number in functions)]
        if role == "victim":
            words.append(str(device.process.pid))
        self.name = name
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        start_new_session=True, user=user, group=user,
                                        extra_groups=None if user is None else [],
                                        preexec_fn=lambda: os.sched_setaffinity(0, cores))
        # Attackers get what victims leave of their core: they keep the device busy, not the core.
        favour(self.process.pid, 10 if role == "attacker" else 0)
        favour(self.process.pid, -10 if role == "attacker" else -20)
        if self.line() != "ready":
            raise Failure(f"{role} {name} does not get ready")

    def line(self):
        text = self.process.stdout.readline()
        if not text:
            raise Failure(f"{self.name} ended with {self.process.wait(PATIENCE_S)}")
        return text.strip()

    def order(self, words):
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()

    def run(self, milliseconds):
        self.order(f"run {milliseconds}")
        return json.loads(self.line())

    def end(self):
        """What an attacker has to say at its end; None for others."""
        self.process.stdin.close()
        said = self.process.stdout.readline()
        self.process.stdout.close()
        try:
            code = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        if code != 0:
            raise Failure(f"{self.name} ended with {code}")
        return json.loads(said) if said else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if not stream.closed:
                stream.close()
