"""Tests that try a law at many random places: a sample of them in ``make test``, all in ``make test-faults``.

Both draw the places from the same seeds, so a failure of either is made again by its number alone.
"""

import pytest

Cases = list[object]


def rounds(full: int, *, sample: int) -> Cases:
    """The numbers of all rounds; those after the sample are marked ``fault``."""
    assert 0 < sample < full
    rest = [pytest.param(number, marks=pytest.mark.fault) for number in range(sample, full)]
    return [*range(sample), *rest]


def amounts(full: int, *, sample: int) -> Cases:
    """How much one test tries: the sample, and in a case of its own that is marked ``fault``, all."""
    assert 0 < sample < full
    return [sample, pytest.param(full, marks=pytest.mark.fault, id=f"all-{full}")]
