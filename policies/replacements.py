"""The replacement orders that a tier can be configured with, by name."""

from collections.abc import Callable, Mapping

from populace.policies.residency import Replacement
from populace.policies.segmented_lru import SegmentedLru
from populace.policies.tiny_lfu import TinyLfu

REPLACEMENTS: Mapping[str, Callable[[int], Replacement]] = {
    "segmented-lru": SegmentedLru,
    "w-tinylfu": TinyLfu,
}
"""Makes each order, given the bytes of the tier."""
