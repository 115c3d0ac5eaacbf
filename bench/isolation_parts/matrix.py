# SPDX-License-Identifier: Apache-2.0
"""The matrix: every victim beside every attacker, in turns with the victim alone."""
import os
import statistics
import time

from arithmetic import mark, ratio
from tenants import Tenant

VICTIMS = {
    "V1": "64 B, one at a time",
    "V2": "8 B, 64 VIs",
    "V3": "64 KiB, one VI",
    "V4": "512 B, 96 VIs",
    "V5": "2 KiB from 32 VIs into one queue",
    "V6": "READ of 4 KiB, 8 VIs",
    "V7": "opens, registers, makes a VI, closes",
}
ATTACKERS = {
    "A1": "1 MiB x 128 x 16 VIs",
    "A2": "8 B flood, 64 VIs",
    "A3": "129/257 B, unaligned",
    "A4": "doorbell storm, 64 contexts",
    "A5": "garbage descriptors and requests",
    "A6": "register/deregister churn",
    "A7": "4096 regions in turn, 64 VIs",
    "A8": "peer without receives",
    "A9": "loopback bulk",
    "A10": "wrong keys",
    "A11": "never drains, always armed",
    "A12": "mailbox flood, 64 contexts",
    "A13": "function-level resets",
    "A14": "4096 VIs for the queues",
    "A15": "flips, remaps, truncates",
    "A16": "256 segments at both ends",
    "A17": "last words that cannot be said",
    "A18": "memory hog that comes back",
    "A19": "windows of a GiB, left and opened",
    "A20": "a new owner each time",
    "A21": "A17 to A19 at once",
}
# Who costs vinicd work is held to the share of its user (docs/vinicd.md, "Who gets in"), so these are users of their
# own; the rest, and everybody where root does not measure, is an administrator.
USERS = {"V7": 61101, "A17": 61102, "A18": 61102, "A19": 61102, "A21": 61102}
VICTIM_FUNCTIONS = (0, 1)
ATTACKER_FUNCTIONS = (2, 3)
LATENCY = "V1"
NEWCOMER = "V7"
RAMP_S = 0.02


def tenant(programs, role, name, device, functions, cores):
    user = USERS.get(name) if os.geteuid() == 0 else None
    if user is not None:
        for number in functions:
            device.set(number, owner=user)
    return Tenant(programs["tenant"], role, name, device, functions, cores, user)


def measure_cell(programs, device, victim, attacker, cores, milliseconds):
    """The victim under attack, and what the device says who got its time."""
    every = (*VICTIM_FUNCTIONS, *ATTACKER_FUNCTIONS)
    with tenant(programs, "attacker", attacker, device, ATTACKER_FUNCTIONS, cores) as bad:
        bad.order("go")
        time.sleep(RAMP_S)
        before = device.sample(every)
        result = victim.run(milliseconds)
        after = device.sample(every)
        said = bad.end()
    gained = {number: {key: after[number][key] - before[number][key] for key in after[number]} for number in every}
    elapsed = max(gained[0]["device_ns"], 1)
    result["victim_engine_share"] = sum(gained[number]["engine_ns"] for number in VICTIM_FUNCTIONS) / elapsed
    result["attacker_engine_share"] = sum(gained[number]["engine_ns"] for number in ATTACKER_FUNCTIONS) / elapsed
    result["attacker_messages"] = sum(gained[number]["granted_descriptors"] for number in ATTACKER_FUNCTIONS)
    result["attacker_operations"] = said["operations"]
    result["attacker_trouble"] = said["trouble"]
    result.pop("slots", None)
    return result


def measure_row(programs, device, name, attackers, cores, rounds, milliseconds, say):
    """{attacker: [one dictionary a round]}: alone, attacked, alone, attacked, ..., alone."""
    found = {attacker: [] for attacker in attackers}
    with tenant(programs, "victim", name, device, VICTIM_FUNCTIONS, cores) as victim:
        victim.run(milliseconds)  # pages are touched, caches are filled
        for turn in range(rounds):
            say(f"{name}: round {turn + 1} of {rounds}")
            alone = victim.run(milliseconds)
            for attacker in attackers:
                attacked = measure_cell(programs, device, victim, attacker, cores, milliseconds)
                alone_after = victim.run(milliseconds)
                found[attacker].append({"alone": alone, "attacked": attacked, "alone_after": alone_after})
                alone = alone_after
        victim.end()
    for each in (one for rounds_of in found.values() for one in rounds_of):
        for part in each.values():
            part.pop("slots", None)
    return found


def per_second(name, result):
    """By the time that the device ran: what the kernel gives to other programs is nobody's attack.  But who opens and
    closes does not keep the device busy: beside an attacker that does, its time would be counted as V7's."""
    return result["messages"] / max(result["seconds" if name == NEWCOMER else "device_seconds"], 1e-9)


def evaluate_cell(name, rounds, entitled, lease_us):
    """One cell of the table."""
    cell = {
        "victim_engine_share": statistics.median(one["attacked"]["victim_engine_share"] for one in rounds),
        "attacker_engine_share": statistics.median(one["attacked"]["attacker_engine_share"] for one in rounds),
        "errors": sum(part["errors"] for one in rounds for part in one.values()),
        "corrupt": sum(part["corrupt"] for one in rounds for part in one.values()),
        "attacker_operations": sum(one["attacked"]["attacker_operations"] for one in rounds),
        "attacker_trouble": sorted({one["attacked"]["attacker_trouble"] for one in rounds} - {""}),
    }
    if name == LATENCY:
        for percentile in ("p50", "p90", "p99"):
            key = f"{percentile}_ns"
            cell[f"added_{percentile}_us"] = statistics.median(
                (one["attacked"][key] - (one["alone"][key] + one["alone_after"][key]) / 2) / 1000 for one in rounds)
        cell["mark"] = mark(cell["added_p99_us"], 2 * lease_us, lease_us, at_least=False)
    else:
        cell["ratio"] = statistics.median(
            ratio(*(per_second(name, one[part]) for part in ("attacked", "alone", "alone_after"))) for one in rounds)
        cell["entitled"] = entitled
        cell["mark"] = mark(cell["ratio"], 0.90 * entitled, 0.97 * entitled, at_least=True)
    if cell["errors"] or cell["corrupt"]:
        cell["mark"] = "BROKEN"
    return cell
