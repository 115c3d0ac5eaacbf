# SPDX-License-Identifier: Apache-2.0
"""Shares, ratios and marks: no process is started here, so that all of it can be tested."""
import statistics

PASS, STRETCH, MISS = "pass", "stretch", "MISS"


def mark(value, limit, stretch, at_least):
    """How a value stands to its two marks."""
    good = (lambda bound: value >= bound) if at_least else (lambda bound: value <= bound)
    return STRETCH if good(stretch) else PASS if good(limit) else MISS


def jain(shares):
    """Jain's index: 1 if all are equal, 1/n if one has everything."""
    square_sum = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * square_sum) if square_sum else 0.0


def rates(before, after, key, clock="device_ns"):
    """Per function and second in which the device ran; `clock` at_ns: in which it ran or not."""
    def rate(first, last):
        return (last[key] - first[key]) * 1e9 / max(last[clock] - first[clock], 1)
    return {number: rate(before[number], after[number]) for number in before}


def share_error(by_function, weights):
    """The largest relative distance of a share from what its weight says."""
    total, weight_sum = sum(by_function.values()), sum(weights.values())
    return max(abs(by_function[number] / total / (weights[number] / weight_sum) - 1) for number in weights)


def ratio(attacked, alone_before, alone_after):
    """Under attack, to the mean of the runs on both sides of it."""
    alone = (alone_before + alone_after) / 2
    return attacked / alone if alone else 0.0


def converged_after_ms(slots, first, slot_ms, tolerance=1.15):
    """How long after slot `first` two slots in a row are at what the last half says is the lasting rate; None: never.

    `slots` are messages in each slot_ms.
    """
    tail = slots[first + (len(slots) - first) // 2:-1]
    if len(tail) < 4:
        return None
    lasting = statistics.mean(tail)
    for index in range(first, len(slots) - 2):
        if (slots[index] + slots[index + 1]) / 2 <= lasting * tolerance:
            return (index - first) * slot_ms
    return None
