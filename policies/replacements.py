"""The orders of leaving that a tier can be told to have, by name."""

from collections.abc import Callable, Mapping

from populace.policies.residency import Replacement
from populace.policies.segmented_lru import SegmentedLru
from populace.policies.tiny_lfu import TinyLfu

REPLACEMENTS: Mapping[str, Callable[[int], Replacement]] = {
    "segmented-lru": SegmentedLru,
    "w-tinylfu": TinyLfu,
}
"""Each is made for a tier of so many bytes."""
