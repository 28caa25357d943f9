"""The probes ask each thing once, and being right is no matter of the place."""

from collections import Counter

from populace.policies.diversity.probes import DIGEST, LABELS, PROBES


def test_each_probe_has_three_different_choices_and_one_that_is_right() -> None:
    assert len({probe.ask for probe in PROBES}) == len(PROBES) == 40
    for probe in PROBES:
        assert len(set(probe.choices)) == 3
        assert 0 <= probe.right < 3


def test_who_always_takes_one_place_is_at_chance() -> None:
    counts = Counter(probe.right for probe in PROBES)

    assert max(counts.values()) - min(counts.values()) <= 1
    assert len(LABELS) == len(PROBES)


def test_the_digest_is_of_these_probes() -> None:
    assert DIGEST.startswith("8c368dc7e71a"), "whoever changes a probe changes what all profiles are of"
