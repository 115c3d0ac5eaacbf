#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs an example as a person would: one role first, then one or more of the other.

Every process must end well, everything expected must be printed, and nothing may be left in the
directory where the device was.
"""
import argparse
import os
import subprocess
import sys
import tempfile

PATIENCE_SECONDS = 60


def start(arguments, environment):
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(options, directory):
    environment = dict(os.environ, VINIC_SHM_DIR=directory)
    if not options.vinicd:
        environment.pop("VINIC_DEVICE", None)
        return run_roles(options, environment)
    socket = os.path.join(directory, "socket")
    vinicd = subprocess.Popen([options.vinicd, "--functions", "2", "--socket", socket], text=True,
                              stderr=subprocess.PIPE)
    try:
        said = vinicd.stderr.readline()  # that it serves
        output, failed = run_roles(options, dict(environment, VINIC_DEVICE=f"vinicd:{socket}#vf1"))
    finally:
        vinicd.terminate()
        _, rest = vinicd.communicate(timeout=PATIENCE_SECONDS)
    return said + output + rest, failed or vinicd.returncode != 0


def run_roles(options, environment):
    first = start([options.program, *options.first], environment)
    output = first.stdout.readline()
    processes = [first]
    if output.strip() == "listening":
        processes += [start([options.program, *options.second], environment) for _ in range(options.count)]
    failed = False
    for process in processes:
        try:
            text, _ = process.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            text, _ = process.communicate()
            text += "(did not end)\n"
        output += text
        failed |= process.returncode != 0
    return output, failed or len(processes) == 1


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program")
    parser.add_argument("--first", nargs="+", required=True, help="arguments of the process that listens")
    parser.add_argument("--second", nargs="+", required=True, help="arguments of the others")
    parser.add_argument("--count", type=int, default=1, help="how many others")
    parser.add_argument("--expect", nargs="+", default=[], help="texts that must be printed")
    parser.add_argument("--vinicd", help="the program; on a function of it instead of a device file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vinic-example-") as directory:
        output, failed = run(options, directory)
        left = os.listdir(directory)
    sys.stdout.write(output)
    missing = [text for text in options.expect if text not in output]
    for text in missing:
        print(f"missing: {text}")
    if left:
        print(f"left behind: {left}")
    return 1 if failed or missing or left else 0


if __name__ == "__main__":
    sys.exit(main())
