#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""units_test.py PACKAGING: what systemd says of the units, without running them.

The table in docs/vinicd.md names what is left and why; whoever takes something out of the unit changes both.
"""
import os
import re
import shutil
import subprocess
import sys

SKIPPED = 77
EXPOSURE_MAX = 5  # in tenths; 100 is a service without any of it
LEFT = {"RootDirectory=/RootImage=", "RestrictAddressFamilies=~AF_UNIX", "PrivateUsers=", "DeviceAllow=",
        "SystemCallFilter=~@resources"}


def main():
    unit = os.path.join(sys.argv[1], "vinicd.service")
    if shutil.which("systemd-analyze") is None:
        print("skipped: systemd-analyze is not installed")
        return SKIPPED
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}",
                           "--no-pager", unit], capture_output=True, text=True, check=False,
                          env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin", "SYSTEMD_COLORS": "0"})
    if "offline" in done.stderr or "Overall exposure" not in done.stdout:
        print("skipped: this systemd-analyze judges no unit that is not loaded:", done.stderr.strip())
        return SKIPPED
    open_points = set(re.findall(r"^✗ (\S+)", done.stdout, re.M))
    print(done.stdout.splitlines()[-1])
    for each in sorted(open_points - LEFT):
        print("not taken away, and not in the table:", each)
    return 0 if done.returncode == 0 and open_points <= LEFT else 1


if __name__ == "__main__":
    sys.exit(main())
