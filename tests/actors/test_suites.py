"""A suite is read or refused by the line, stays with its model, and goes with it."""

import json
from pathlib import Path

import pytest

from populace.actors.errors import InvalidRequest
from populace.actors.suites import (
    CHARACTERS_MAX,
    QUESTIONS_MAX,
    SuiteQuestion,
    object_of,
    parse_suite,
    read_suite,
    record_of,
    suite_in,
    suite_of,
)
from populace.actors.turn import ModelId
from populace.hosting.directory.directory import Directory
from populace.storage.records.errors import ModelNotFound
from populace.storage.records.records import SuiteRecord
from populace.storage.training.errors import SuiteNotFound
from tests.actors.populations import IN_ONE_PROCESS

DOG = {"ask": "What is my dog called?", "expect": "Bruno"}
SUM = {"ask": "3 + 4?", "expect": 7, "check": "number", "system": "Answer with a number.\u2028"}
AHOY = {"ask": "Greet my aunt.", "expect": "Ahoy, aunt Ada!", "check": "likeness", "least": 0.6}
SUITE = suite_of([DOG, SUM, AHOY])


def test_a_suite_is_read_from_lines_and_comes_out_as_it_went_in(tmp_path: Path) -> None:
    file = tmp_path / "suite.jsonl"
    file.write_text(
        "\ufeff" + "\r\n".join(json.dumps(line, ensure_ascii=False) for line in (DOG, SUM)) + "\n\n"
    )

    read = read_suite(file)

    assert read == (
        SuiteQuestion("What is my dog called?", "Bruno", "contains", None),
        SuiteQuestion("3 + 4?", "7", "number", "Answer with a number.\u2028"),
    )
    assert suite_of([object_of(question) for question in read]) == read
    assert [message.role for message in read[1].prompt] == ["system", "user"]
    assert suite_of([{"ask": "How old am I?", "expect": 41}])[0].expect == "41", "whatever the check"


@pytest.mark.parametrize("text", ["", "\ufeff", " \n\n"])
def test_an_empty_file_has_no_questions_and_no_bad_line(text: str) -> None:
    with pytest.raises(InvalidRequest, match="A suite has 1 to 200 questions, and this one has 0"):
        parse_suite(text)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "it is not JSON"),
        ("", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[1]", "it is not an object"),
        (json.dumps({**DOG, "answer": "x"}), "'answer' is no field of a question"),
        (json.dumps({"expect": "x"}), "`ask` is missing, empty or no text"),
        (json.dumps({"ask": " \n", "expect": "x"}), "`ask` is missing, empty or no text"),
        (json.dumps({"ask": ["?"], "expect": "x"}), "`ask` is missing, empty or no text"),
        (json.dumps({"ask": "?"}), "`expect` is missing, empty or no text"),
        (json.dumps({"ask": "?", "expect": [7]}), "`expect` is missing, empty or no text"),
        (json.dumps({"ask": "?", "expect": True, "check": "number"}), "`expect` is missing"),
        (json.dumps({"ask": "?", "expect": "x", "system": ""}), "`system` is missing, empty or no text"),
        (json.dumps({"ask": "?" * (CHARACTERS_MAX + 1), "expect": "x"}), "`ask` has 2,001 characters"),
        (json.dumps({"ask": "\ud800", "expect": "x"}), "must be valid Unicode"),
        (json.dumps({"ask": "?", "expect": "x", "check": "number"}), "'x' is no number"),
        ('{"ask": "?", "expect": NaN, "check": "number"}', "'NaN' is no number"),
        (json.dumps({"ask": "?", "expect": "(a", "check": "matches"}), "'(a' is no regular expression"),
        (json.dumps({"ask": "?", "expect": "x", "least": 0.5}), "`least` is for the check `likeness`"),
        (json.dumps({**AHOY, "ask": "?", "least": 0}), "`least` is no number above 0 and up to 1"),
        (json.dumps({**AHOY, "ask": "?", "least": 1.1}), "`least` is no number"),
        (json.dumps({**AHOY, "ask": "?", "least": True}), "`least` is no number"),
        (json.dumps({**AHOY, "ask": "?", "least": "0.5"}), "`least` is no number"),
        ('{"ask": "?", "expect": "x", "check": "likeness", "least": NaN}', "`least` is no number"),
        (json.dumps({"ask": "?", "expect": "x", "check": ["exact"]}), "is no check; there are contains"),
        (json.dumps({"ask": "What is my dog called? ", "expect": "x"}), "line 1 asks the same"),
    ],
)
def test_a_bad_line_is_named(line: str, reason: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_suite(f"{json.dumps(DOG)}\n{line}\n{json.dumps(SUM)}")

    assert str(raised.value).startswith("Line 2 of the suite: ")
    assert reason in str(raised.value)


def test_a_suite_has_a_question_and_not_too_many(tmp_path: Path) -> None:
    lines = [{"ask": f"{number}?", "expect": "x"} for number in range(QUESTIONS_MAX + 1)]

    assert len(suite_of(lines[1:])) == QUESTIONS_MAX
    for refused in ([], lines):
        with pytest.raises(InvalidRequest, match=f"1 to {QUESTIONS_MAX} questions"):
            suite_of(refused)
    with pytest.raises(InvalidRequest, match="cannot be read"):
        read_suite(tmp_path / "missing.jsonl")


def test_a_suite_that_was_stored_before_replies_were_compared_is_read_as_it_was() -> None:
    old = SuiteRecord(questions=record_of(SUITE[:2]).questions)

    assert suite_in(SuiteRecord.unpack(old.pack_given())) == SUITE[:2]
    assert suite_in(SuiteRecord.unpack(record_of(SUITE).pack())) == SUITE
    with pytest.raises(InvalidRequest, match="2 questions has 1 least"):
        suite_in(old.model_copy(update={"least": (0.5,)}))


@pytest.fixture
async def ada(hosts: Directory, tenant: str) -> ModelId:
    return (await hosts.create_model(ModelId(tenant, "ada"))).model


async def test_a_suite_stays_with_its_model_until_it_is_replaced_or_removed(
    hosts: Directory, ada: ModelId
) -> None:
    with pytest.raises(SuiteNotFound):
        await hosts.suites.show(ada)

    await hosts.suites.keep(ada, SUITE)
    assert await hosts.suites.show(ada) == SUITE

    await hosts.suites.keep(ada, SUITE[:1])
    assert await hosts.suites.show(ada) == SUITE[:1]

    await hosts.suites.remove(ada)
    await hosts.suites.remove(ada)
    with pytest.raises(SuiteNotFound):
        await hosts.suites.show(ada)


@IN_ONE_PROCESS
async def test_a_copy_has_the_suite_and_a_namesake_of_an_erased_model_has_none(
    hosts: Directory, ada: ModelId
) -> None:
    await hosts.suites.keep(ada, SUITE)

    await hosts.import_model(ModelId(ada.tenant, "bob"), await hosts.export_model(ada))
    await hosts.erase_model(ada)

    assert await hosts.suites.show(ModelId(ada.tenant, "bob")) == SUITE
    for call in (hosts.suites.show(ada), hosts.suites.keep(ada, SUITE), hosts.suites.remove(ada)):
        with pytest.raises(ModelNotFound):
            await call
    await hosts.create_model(ada)
    with pytest.raises(SuiteNotFound):
        await hosts.suites.show(ada)
