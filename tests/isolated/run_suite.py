#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a test program against a fresh vinicd.

    run_suite.py VINICD PROGRAM [ARGUMENT...]

@SOCKET@ in an argument becomes the path of vinicd's socket.  The suite's output is shown as it is, with what it
skips.  A failure is: the program's, a vinicd that ended before it was told to, one that does not end when told to,
or that ends with anything but 0.
"""
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

PATIENCE_S = 30


def fail(why, log):
    sys.stdout.flush()
    log.seek(0)
    sys.stderr.write(f"run_suite.py: {why}; the end of vinicd's log:\n")
    sys.stderr.write("".join(log.read().decode(errors="replace").splitlines(True)[-40:]))
    return 1


def wait_for(path, device):
    end = time.monotonic() + PATIENCE_S
    while device.poll() is None and time.monotonic() < end:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
                probe.connect(path)
                return True
        except OSError:
            time.sleep(0.01)
    return False


def main():
    vinicd, *program = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="vinic-isolated.") as directory, tempfile.TemporaryFile() as log:
        path = os.path.join(directory, "socket")
        device = subprocess.Popen([vinicd, "--functions", "4", "--socket", path], stdout=log, stderr=log)
        try:
            if not wait_for(path, device):
                return fail("vinicd does not come up", log)
            outcome = subprocess.run([word.replace("@SOCKET@", path) for word in program], check=False).returncode
            if device.poll() is not None:
                return fail(f"vinicd ended with {device.returncode} before its time", log)
            device.send_signal(signal.SIGTERM)
            if (code := device.wait(PATIENCE_S)) != 0:
                return fail(f"vinicd ended with {code}", log)
            return outcome if outcome == 0 else fail(f"the suite ended with {outcome}", log)
        except subprocess.TimeoutExpired:
            return fail("vinicd does not end", log)
        finally:
            if device.poll() is None:
                device.kill()
                device.wait()


if __name__ == "__main__":
    sys.exit(main())
