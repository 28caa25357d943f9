"""A replacement policy that knows the future, to compare real policies with.

L. A. Belady, "A study of replacement algorithms for a virtual-storage computer", IBM Systems Journal 5(2),
1966; the bound for mixed sizes: D. S. Berger, N. Beckmann, M. Harchol-Balter, "Practical Bounds on
Optimal Caching with Variable Object Sizes", SIGMETRICS 2018 (PFOO-L).
"""

import heapq
from collections.abc import Sequence

from populace.policies.residency_trace import Access, Outcome

NEVER = float("inf")


def clairvoyant(trace: Sequence[Access], bytes_max: int) -> Outcome:
    """Play the trace; the key that is used again last leaves first.

    If all sizes are equal, no policy that must admit every requested key loads less often.
    With mixed sizes it is a good policy and not the best; ``hits_bound`` bounds all policies from above.
    """
    next_use = _next_uses(trace)
    resident: dict[str, tuple[float, int]] = {}
    farthest: list[tuple[float, int]] = []
    hits = loads = evictions = bytes_loaded = used = 0
    for index, access in enumerate(trace):
        key = access.key
        if key in resident:
            hits += 1
        else:
            loads += 1
            bytes_loaded += access.size
            if access.size > bytes_max:
                continue
            while used + access.size > bytes_max:
                until, at = heapq.heappop(farthest)
                victim = trace[at].key
                if resident.get(victim, (0.0, 0))[0] == -until:
                    used -= resident.pop(victim)[1]
                    evictions += 1
            used += access.size
        resident[key] = (next_use[index], access.size)
        heapq.heappush(farthest, (-next_use[index], index))
    return Outcome(len(trace), hits, loads, bytes_loaded, evictions)


def hits_bound(trace: Sequence[Access], bytes_max: int) -> int:
    """An upper bound of any policy's hits: the cheapest stays that fit into all bytes times all uses."""
    last: dict[str, int] = {}
    costs: list[int] = []
    for index, access in enumerate(trace):
        if access.key in last:
            costs.append((index - last[access.key]) * access.size)
        last[access.key] = index
    room = bytes_max * len(trace)
    hits = 0
    for cost in sorted(costs):
        room -= cost
        if room < 0:
            break
        hits += 1
    return hits


def _next_uses(trace: Sequence[Access]) -> list[float]:
    following: dict[str, int] = {}
    uses = [NEVER] * len(trace)
    for index in range(len(trace) - 1, -1, -1):
        uses[index] = following.get(trace[index].key, NEVER)
        following[trace[index].key] = index
    return uses
