# SPDX-License-Identifier: Apache-2.0
"""Who gets how much of the device, by the device's own counters: the metrics beside the matrix."""
import contextlib
import json
import statistics
import time

from arithmetic import converged_after_ms, jain, mark, rates, share_error
from tenants import Tenant

BULK = "L65536"
SLOT_MS = 0.5


class Bench:
    """What every measurement needs."""

    def __init__(self, programs, device, cores, rate):
        self.programs, self.device, self.cores, self.rate = programs, device, cores, rate

    @contextlib.contextmanager
    def loads(self, names):
        """Tenants that are never idle: {number of the function: name}."""
        with contextlib.ExitStack() as stack:
            every = [stack.enter_context(Tenant(self.programs["tenant"], "attacker", name, self.device,
                                                (number, number), self.cores)) for number, name in names.items()]
            for each in every:
                each.order("go")
            time.sleep(0.15)
            yield
            for each in every:
                each.end()

    def windows(self, numbers, seconds, count):
        samples = [self.device.sample(numbers)]
        for _ in range(count):
            time.sleep(seconds)
            samples.append(self.device.sample(numbers))
        return list(zip(samples, samples[1:]))


def row(name, value, limit, stretch, at_least, unit="", **more):
    return {"metric": name, "value": value, "pass": limit, "stretch": stretch, "unit": unit,
            "mark": mark(value, limit, stretch, at_least), **more}


def equal_shares(bench):
    numbers = range(8)
    with bench.loads({number: BULK for number in numbers}):
        windows = bench.windows(numbers, 0.1, 8)
    by_window = [list(rates(before, after, "granted_bytes").values()) for before, after in windows]
    least = min(min(shares) * len(shares) / sum(shares) for shares in by_window)
    widest = max(max(shares) / max(min(shares), 1) for shares in by_window)
    return [row("8 equal functions: Jain, bytes, worst 100 ms", min(map(jain, by_window)), 0.99, 0.999, True,
                least_share=least, max_to_min=widest)]


def mixed_shares(bench):
    names = {number: "L64" if number < 4 else "L4096" for number in range(8)}
    with bench.loads(names):
        windows = bench.windows(names, 0.1, 8)
    def charges(before, after):
        """What the device charges: bytes, or time if that is more."""
        moved, worked = rates(before, after, "granted_bytes"), rates(before, after, "engine_ns")
        return [max(moved[number], worked[number] / 1e9 * bench.rate) for number in names]
    byte_index = statistics.median(jain(list(rates(*pair, "granted_bytes").values())) for pair in windows)
    return [row("4 x 64 B and 4 x 4 KiB: Jain, charge, worst 100 ms", min(jain(charges(*pair)) for pair in windows),
                0.99, 0.999, True, jain_bytes=byte_index)]


def weighted_shares(bench):
    weights = {0: 1, 1: 2, 2: 4}
    for number, weight in weights.items():
        bench.device.set(number, weight=weight)
    try:
        with bench.loads({number: BULK for number in weights}):
            long = bench.windows(weights, 0.1, 8)
            short = bench.windows(weights, 0.01, 40)
    finally:
        for number in weights:
            bench.device.set(number, weight=1)
    def errors(windows):
        return sorted(share_error(rates(*pair, "granted_bytes"), weights) for pair in windows)
    return [row("weights 1:2:4: share error, worst 100 ms", errors(long)[-1], 0.02, 0.005, False),
            row("weights 1:2:4: share error, 10 ms, median", statistics.median(errors(short)), 0.05, 0.02, False,
                worst=errors(short)[-1])]


def guarantee(bench):
    promised = int(bench.rate / 2)
    bench.device.set(0, guarantee=promised)
    found = []
    try:
        for attackers in ({2: BULK, 4: BULK, 5: BULK}, {2: "A1", 4: "A2", 6: "A16"}):
            words = "3 x 64 KiB" if attackers[2] == BULK else "A1, A2 and A16"
            with contextlib.ExitStack() as stack:
                stack.enter_context(bench.loads({0: BULK}))
                for number, name in attackers.items():
                    pair = (number, number if name == BULK else number + 1)
                    bad = stack.enter_context(Tenant(bench.programs["tenant"], "attacker", name, bench.device, pair,
                                                     bench.cores))
                    bad.order("go")
                time.sleep(0.2)
                windows = bench.windows([0], 0.1, 8)
            delivered = statistics.median(rates(*pair, "granted_bytes")[0] / promised for pair in windows)
            in_time = statistics.median(rates(*pair, "engine_ns")[0] / 1e9 / 0.5 for pair in windows)
            found.append(row(f"guarantee of 0.5 beside {words}: delivered", delivered, 0.98, 0.995, True,
                             engine_time_delivered=in_time))
    finally:
        bench.device.set(0, guarantee=0)
    return found


def cap_and_conservation(bench):
    with bench.loads({0: BULK, 2: BULK}):
        free = [sum(rates(*pair, "granted_bytes").values()) for pair in bench.windows([0, 2], 0.1, 6)]
    cap = int(bench.rate / 4)
    bench.device.set(0, cap=cap)
    try:
        with bench.loads({0: BULK, 2: BULK}):
            capped = bench.windows([0, 2], 0.1, 10)
    finally:
        bench.device.set(0, cap=0)
    # A cap is kept by the clock, whether the device runs or not.
    over = rates(capped[0][0], capped[-1][1], "granted_bytes", "at_ns")[0] / cap - 1
    together = statistics.median(sum(rates(*pair, "granted_bytes").values()) for pair in capped)
    return [row("cap of 0.25: overshoot over 1 s", max(over, 0.0), 0.01, 0.001, False, delivered=1 + over),
            row("work conservation, one capped: of the device's most", together / statistics.median(free), 0.97, 0.99,
                True)]


def reconvergence(bench):
    found = []
    with Tenant(bench.programs["tenant"], "victim", "V3", bench.device, (0, 1), bench.cores) as victim:
        victim.run(100)
        for _ in range(5):
            with Tenant(bench.programs["tenant"], "attacker", "L65536", bench.device, (2, 2), bench.cores) as bad:
                victim.order("run 120")
                time.sleep(0.04)
                bad.order("go")
                result = json.loads(victim.line())
                begun = bad.end()["begun_ns"]
            first = int((begun - result["begun_ns"]) / (SLOT_MS * 1e6))
            if 0 <= first < len(result["slots"]):
                after = converged_after_ms(result["slots"], first, SLOT_MS)
                if after is not None:
                    found.append(after)
        victim.end()
    return [row("the victim's share lasts, after an attacker begins", statistics.median(found) if found else 1e9, 1.0,
                0.5, False, "ms", resolution_ms=SLOT_MS, runs=found)]


ALL = (equal_shares, mixed_shares, weighted_shares, guarantee, cap_and_conservation, reconvergence)
