"""A fault that ``python -m scripts.mutants`` plants, and the tests that must notice it."""

from typing import NamedTuple


class Edit(NamedTuple):
    """One change of the source; ``old`` stands in the file exactly once."""

    file: str
    old: str
    new: str


class Mutant(NamedTuple):
    """A fault, the promise that it breaks, and the tests that must notice it."""

    name: str
    promise: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]
