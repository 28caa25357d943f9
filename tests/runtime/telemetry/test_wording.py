"""A log has our own words, numbers, and hashes of names."""

import hmac
from hashlib import sha256
from pathlib import Path

import pytest

from populace.actors.errors import EngineUnavailable, HostUnavailable, InvalidRequest, NothingToTrain
from populace.actors.turn import ModelId
from populace.policies.quoted_words import listed
from populace.storage.records.errors import (
    DiskRefused,
    FeedbackFull,
    ModelNotFound,
    PopulaceError,
    RevisionNotFound,
)
from populace.storage.records.named import Named
from populace.telemetry.wording import HIDDEN, Wording
from tests.house.test_errors import ERRORS, sample
from tests.runtime.telemetry.written import KEY

WORDING = Wording(KEY, names_plain=False)
WORD = "a text"
"""What ``sample`` puts into each field of text."""


def hashed(name: str) -> str:
    return hmac.new(KEY, name.encode(), sha256).hexdigest()[:16]


def test_a_name_is_a_keyed_hash_that_is_always_the_same() -> None:
    assert WORDING.argument(Named("ada")) == hashed("ada")
    assert WORDING.argument(ModelId("acme", "ada")) == f"{hashed('acme')}/{hashed('ada')}"
    assert WORDING.argument(Named("acme/ada")) == WORDING.argument(ModelId("acme", "ada"))
    assert Wording(b"another", names_plain=False).name("ada") != hashed("ada")


def test_names_are_plain_if_the_setting_says_so() -> None:
    plain = Wording(KEY, names_plain=True)

    assert plain.argument(ModelId("acme", "ada")) == "acme/ada"
    assert plain.error(ModelNotFound("ada")) == "The model `ada` does not exist."


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ModelNotFound("ada"), f"The model `{hashed('ada')}` does not exist."),
        (FeedbackFull("ada", 3, 4), f"There is feedback 4 times on the interaction 3 of `{hashed('ada')}`."),
        (
            RevisionNotFound("ada", "mine"),
            f"The model `{hashed('ada')}` has no revision or alias `{HIDDEN}`.",
        ),
        (InvalidRequest("`the secret` is no text", "messages"), "InvalidRequest"),
        (
            HostUnavailable("populace-host-0", "it is restarting"),
            "The host populace-host-0 is not available: it is restarting. Retry with the same operation id.",
        ),
        (EngineUnavailable("the secret"), f"The serving engine is not available: {HIDDEN}."),
        (
            NothingToTrain("ada", f"it says {listed(['the secret'])} already"),
            f"The training of `{hashed('ada')}` ended without a revision: it says “…” already.",
        ),
        (OSError(28, "No space left on device", "/home/ada"), "OSError: [Errno 28] No space left on device"),
        (ValueError("the secret"), "ValueError"),
        (KeyError("ada"), "KeyError"),
        (AssertionError("the secret"), "AssertionError"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_is_told_without_what_it_quotes(error: Exception, words: str) -> None:
    assert WORDING.error(error) == words


def test_no_error_of_ours_tells_a_text_that_its_class_does_not_vouch_for() -> None:
    telling = [
        error.__qualname__
        for error in ERRORS
        if WORD in WORDING.error(sample(error))
        and not any(WORD in str(getattr(sample(error), name)) for name in error.logged)
    ]

    assert telling == []


def test_what_a_class_vouches_for_is_a_field_of_it() -> None:
    assert [(e.__qualname__, name) for e in ERRORS for name in e.logged if name not in e.fields] == []
    assert DiskRefused.logged
    assert PopulaceError.logged == ()


def test_a_stack_has_the_places_and_the_types_of_all_causes() -> None:
    with pytest.raises(EngineUnavailable) as raised:
        fail()
    stack = WORDING.stack(raised.value)

    first, last = stack.split("\nwhich led to\n")
    assert Path(__file__).name in first
    assert first.endswith("\nValueError")
    assert last.endswith(f"The serving engine is not available: {HIDDEN}.")
    assert "invalid literal" not in first


def fail() -> None:
    try:
        int("the secret")
    except ValueError as error:
        raise EngineUnavailable("the secret") from error


def test_a_stack_has_what_is_in_a_group() -> None:
    words = "the secret"
    stack = WORDING.stack(ExceptionGroup(words, [ValueError(words), KeyError(words)]))

    assert stack.split("\nwhich led to\n") == ["KeyError", "ValueError", "ExceptionGroup"]


def test_causes_in_a_circle_end() -> None:
    one, other = ValueError(), KeyError()
    one.__context__, other.__context__ = other, one

    assert WORDING.stack(one).endswith("ValueError")


def test_things_are_named_by_their_type_alone() -> None:
    assert WORDING.argument([{"content": "the secret"}]) == "…(list)"
    assert WORDING.argument(b"the secret") == "…(bytes)"
    assert WORDING.argument(7) == 7
