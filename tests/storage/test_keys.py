"""Keys sort as their parts do, and no model's rows lie among another's."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from populace.storage.records import keys

names = st.from_regex(keys.NAME_PATTERN, fullmatch=True)
positions = st.integers(0, 2**64 - 1)
digests = st.from_regex("[0-9a-f]{64}", fullmatch=True)


@given(names, names, positions, positions)
def test_interactions_sort_by_position(tenant: str, name: str, one: int, other: int) -> None:
    first, second = keys.interaction(tenant, name, one), keys.interaction(tenant, name, other)

    assert (first < second) == (one < other)


@given(names, names, names)
def test_identities_sort_by_name(tenant: str, one: str, other: str) -> None:
    first, second = keys.identity(tenant, one), keys.identity(tenant, other)

    assert (first < second) == (one < other)
    assert first.startswith(keys.identities(tenant))


@given(st.tuples(names, names), st.tuples(names, names))
def test_no_models_prefix_covers_another_model(one: tuple[str, str], other: tuple[str, str]) -> None:
    assume(one != other)

    for prefix in keys.model_prefixes(*one):
        assert not any(key.startswith(prefix) for key in keys.model_prefixes(*other))


@given(names, names, names, positions, digests, st.text(max_size=2000))
def test_every_key_is_unique_covered_and_fits_lmdb(
    tenant: str, name: str, alias: str, position: int, digest: str, operation: str
) -> None:
    assume(keys.alias_problem(alias) is None)
    made = [
        keys.data_key(tenant, name),
        keys.identity(tenant, name),
        keys.head(tenant, name),
        keys.alias(tenant, name, alias),
        keys.revision(tenant, name, digest),
        keys.interaction(tenant, name, position),
        keys.operation(tenant, name, operation),
        keys.feedback(tenant, name, position, operation),
        keys.job(tenant, name, position),
        keys.open_job(tenant, name),
        keys.tasks(tenant, name),
        keys.kept(tenant, name, digest),
        keys.unsettled(tenant, name),
        keys.member(tenant, name),
        keys.profile(tenant, name),
        keys.contributor(tenant, name),
        keys.forgotten(tenant, name),
        keys.suite(tenant, name),
        keys.known(tenant, name),
        keys.memory(tenant, name),
        keys.snapshot(tenant, name),
    ]

    prefixes = keys.model_prefixes(tenant, name)
    assert len(set(made)) == len(made) == len(prefixes)
    pairs = zip(sorted(made), sorted(prefixes), strict=True)
    assert all(key.startswith(prefix) for key, prefix in pairs)
    assert all(len(key) <= 511 for key in [*made, keys.api_key(operation)])


@pytest.mark.parametrize("name", ["a", "0", "a-b_c", "a" * 64])
def test_plain_names_are_allowed(name: str) -> None:
    assert keys.name_problem(name) is None


@pytest.mark.parametrize(
    "name", ["", "-a", "_a", "A", "a" * 65, "a/b", "..", "a\n", "a\0b", "a b", "é", "а", "a@latest"]
)
def test_other_names_are_refused_with_the_rule(name: str) -> None:
    assert "a-z" in (keys.name_problem(name) or "")
    with pytest.raises(AssertionError):
        keys.identity("acme", name)


def test_reserved_names_are_refused_where_they_are_reserved() -> None:
    assert keys.name_problem("base") is None
    assert (
        keys.name_problem("base", reserved=keys.RESERVED_MODEL_NAMES)
        == "base, import, population are reserved"
    )
    assert keys.name_problem("ada", reserved=keys.RESERVED_MODEL_NAMES) is None


def test_an_alias_never_reads_as_a_digest() -> None:
    assert keys.alias_problem("latest") is None
    assert keys.alias_problem("a" * 64) is not None
    assert keys.alias_problem("A") is not None


def test_a_name_with_capitals_is_told_which_one_it_may_have() -> None:
    assert (keys.name_problem("Ada") or "").endswith("; `ada` is allowed")
    assert "allowed" not in (keys.name_problem("Åsa") or "")
