# SPDX-License-Identifier: Apache-2.0
"""The goals of direct placement, as ratios within one run, and whether they are met."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Goal:
    what: str
    limit: float
    at_most: bool  # else at least
    measure: str   # key of a ratio, see ratios()

    def verdict(self, ratio):
        if ratio is None:
            return "not measured"
        met = ratio <= self.limit if self.at_most else ratio >= self.limit
        return "met" if met else "MISSED"

    def limit_words(self):
        return f"{'<=' if self.at_most else '>='} {self.limit:g}"


GOALS = [
    Goal("send/receive 8 B, p50, to the bare hand-off", 1.25, True, "lat_8/handoff"),
    Goal("send/receive 8 B, p50, to UCX tag", 0.5, True, "lat_8/ucx"),
    Goal("send/receive 4 KiB, p50, to UCX tag", 0.25, True, "lat_4096/ucx"),
    Goal("RDMA write 8 B, target polls memory, to the bare hand-off", 1.1, True, "put_lat_8/handoff"),
    Goal("RDMA write 8 B, target polls memory, to UCX put", 1.0, True, "put_lat_8/ucx"),
    Goal("stream of 8 B sends, to UCX tag", 3.0, False, "rate_8/ucx"),
    Goal("stream of 8 B writes, to UCX put", 1.2, False, "put_rate_8/ucx"),
    Goal("stream of 8 B sends, to UCX put", 1.2, False, "rate_8/ucx_put"),
    Goal("stream of 4 KiB, rotating buffers, to UCX tag", 3.0, False, "bw_4096/ucx"),
    Goal("stream of 4 KiB, to memcpy between the same mappings", 0.9, False, "all_4096/memcpy"),
    Goal("stream of 64 KiB, one buffer on both sides, to UCX tag", 1.5, False, "hot_65536/ucx"),
    Goal("stream of 64 KiB, rotating buffers, to UCX tag in one", 1.5, False, "bw_65536/ucx"),
    Goal("stream of 64 KiB, to memcpy between the same mappings", 0.9, False, "all_65536/memcpy"),
    Goal("latency with 1,000 VIs open, to a lone VI", 1.1, True, "scale_1000"),
    Goal("latency with 10,000 VIs open, to a lone VI", 1.1, True, "scale_10000"),
    Goal("memory of an idle VI with 64-deep queues, KiB", 16.0, True, "idle_vi_kib"),
    Goal("write of 4 KiB to foreign memory, to process_vm_writev", 1.1, True, "foreign_4096"),
    Goal("write of 64 KiB to foreign memory, to process_vm_writev", 1.1, True, "foreign_65536"),
]


def ratio(a, b):
    return None if a is None or not b else a / b


def ratios(medians, limits, extra):
    """medians[workload key][contender]; limits["lat_8/handoff"] and "all_4096/memcpy" are ratios already."""
    def of(key, other, other_key=None):
        return ratio(medians.get(key, {}).get("vinic"), medians.get(other_key or key, {}).get(other))

    found = dict(limits)
    found.update({f"{key}/ucx": of(key, "ucx")
                  for key in ("lat_8", "lat_4096", "put_lat_8", "rate_8", "put_rate_8", "bw_4096", "hot_65536",
                              "bw_65536")})
    found["rate_8/ucx_put"] = of("rate_8", "ucx", "put_rate_8")
    found.update(extra)
    return found


def evaluate(found):
    return [{"goal": goal.what, "limit": goal.limit_words(), "ratio": found.get(goal.measure),
             "verdict": goal.verdict(found.get(goal.measure))} for goal in GOALS]
