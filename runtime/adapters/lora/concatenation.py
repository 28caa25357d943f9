"""Marks where a packed adapter contains a lower revision, so that the two can be split again.

A personal part on a lower revision is served as one adapter: in each layer the rows of A that come first are
the lower revision's. The metadata of the packed file, and of its tensor file when it is exported, has an
entry for that; an older release ignores it and serves the same adapter.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from populace.actors.errors import AdapterInvalid
from populace.adapters.lora.layer import LoraLayer
from populace.storage.records.keys import is_digest

KEY = "populace_concatenation"
"""The entry of the metadata: JSON with the lower digest, and the common and all other layers' parts."""


class Part(NamedTuple):
    """How many of a layer's first rows are the lower revision's, and the alpha of its personal part."""

    rank: int
    alpha: float


class Concatenation(NamedTuple):
    """The digest of the lower revision, and the parts of the layers by their dotted names."""

    lower: str
    parts: Mapping[str, Part]

    @classmethod
    def of_layers(cls, lower: str, layers: Mapping[str, LoraLayer]) -> Self:
        """Describe what ``merged`` makes of layers that keep the lower revision's factors."""
        return cls(
            lower,
            {
                name: Part(0 if layer.kept is None else layer.kept.a.shape[0], layer.merged_alpha)
                for name, layer in layers.items()
            },
        )

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, str], ranks: Mapping[str, int]) -> Self | None:
        """Read the entry of a packed adapter whose layers have these ranks; None if it is no concatenation.

        Raises ``AdapterInvalid`` for an entry that does not describe such an adapter: anybody may have
        written it.
        """
        entry = metadata.get(KEY)
        if entry is None:
            return None
        try:
            told: Any = json.loads(entry)
            common, others = (
                Part(*told["common"]),
                {name: Part(*part) for name, part in told["others"].items()},
            )
            made = cls(told["lower"], {name: others.get(name, common) for name in ranks})
            fits = is_digest(made.lower) and all(
                type(part.rank) is int and 0 <= part.rank <= ranks[name] and 0.0 < part.alpha < math.inf
                for name, part in made.parts.items()
            )
            fits = fits and any(part.rank < ranks[name] for name, part in made.parts.items())
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise AdapterInvalid(f"what it says of its lower revision is damaged ({error})") from error
        if not fits:
            raise AdapterInvalid("what it says of its lower revision does not fit its layers")
        return made

    def metadata(self) -> dict[str, str]:
        """Encode the entry of the metadata; a part that most layers have is in it once."""
        common = Counter(self.parts.values()).most_common(1)[0][0]
        others = {name: part for name, part in self.parts.items() if part != common}
        return {KEY: json.dumps({"lower": self.lower, "common": common, "others": others})}
