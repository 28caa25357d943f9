"""Episodes in people's own words: what they hold, that they repeat, and that no held-out line is in them."""

import json
from itertools import islice
from pathlib import Path
from typing import get_args

import pytest

from examples.memory_module.corpus_files import (
    AMBIGUOUS,
    attribute_phrases,
    lines,
    listed_values,
    never_told,
    personal_requests,
    phrases_of,
)
from examples.memory_module.episodes import Episode
from examples.memory_module.own_words import own_words_episodes
from examples.memory_module.values import Part, is_held_out

HELD_OUT = Path(__file__).parents[2] / "held_out"
PARTS: tuple[Part, ...] = get_args(Part)
WORDS = tuple(f"word{number}" for number in range(400))


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    return list(islice(own_words_episodes(WORDS, "train", seed=3), 400))


def test_the_same_seed_makes_the_same_episodes(episodes: list[Episode]) -> None:
    again = islice(own_words_episodes(WORDS, "train", seed=3), 20)
    others = islice(own_words_episodes(WORDS, "train", seed=4), 20)

    assert list(again) == episodes[:20]
    assert list(others) != episodes[:20]


def test_every_value_that_is_asked_for_was_told(episodes: list[Episode]) -> None:
    for episode in episodes:
        told = " ".join(message.content for message in episode.messages if message.tells)
        for question in episode.questions:
            assert question.value is None or question.value in told


def test_values_to_train_on_have_no_word_that_is_held_out(episodes: list[Episode]) -> None:
    values = [question.value for episode in episodes for question in episode.questions if question.value]

    assert not [value for value in values if any(map(is_held_out, value.split()))]


def test_held_out_episodes_are_told_and_asked_in_ways_of_their_own() -> None:
    ours, theirs = phrases_of("train"), phrases_of("held-out")

    for name, phrases in attribute_phrases().items():
        for part in ("tell", "ask"):
            train, held_out = getattr(ours[name], part), getattr(theirs[name], part)
            assert set(train) | set(held_out) == set(getattr(phrases, part))
            assert not set(train) & set(held_out)
            assert train
            assert held_out, name
    every = [{one for ways in part.values() for one in (*ways.tell, *ways.ask)} for part in (ours, theirs)]
    assert not every[0] & every[1], "what two attributes share is held out for both"


def test_episodes_are_of_all_kinds(episodes: list[Episode]) -> None:
    messages = [message for episode in episodes for message in episode.messages]
    questions = [question for episode in episodes for question in episode.questions]
    untold = [one for one in questions if one.value is None and one.answer is not None]

    assert any(message.fresh for message in messages)
    assert any(not message.tells for message in messages if message.role == "user")
    assert any(question.answer is None for question in questions)
    assert all("not" in str(one.answer) for one in untold)
    assert untold


def test_what_two_questions_could_mean_alike_is_not_told_of_one_person(episodes: list[Episode]) -> None:
    answers = {name: phrases.answer[0].split("{v}")[0] for name, phrases in attribute_phrases().items()}
    for episode in episodes:
        for group in AMBIGUOUS:
            asked = [
                name
                for name in group
                for question in episode.questions
                if question.answer is not None and question.answer.startswith(answers[name])
            ]
            assert len(set(asked)) <= 2  # two attributes may begin alike: "Your favorite ..."


@pytest.mark.parametrize("name", ["requests", "chatter", "fillers", "replies"])
def test_a_line_is_there_once(name: str) -> None:
    found = lines(name)

    assert len(set(found)) == len(found) > 100


def test_what_was_never_told_is_asked_in_ways_of_each_part() -> None:
    train, held_out = (never_told(part) for part in PARTS)

    assert len(train) > len(held_out) > 10
    assert not {one.ask for one in train} & {one.ask for one in held_out}
    assert all(one.unknown.startswith("You have not told me") for one in (*train, *held_out))


def test_listed_values_are_there_once_and_used() -> None:
    kinds = {phrases.kind for phrases in attribute_phrases().values()}

    assert listed_values().keys() <= kinds
    for values in listed_values().values():
        assert len(set(values)) == len(values) > 10


def test_phrases_have_their_value_once() -> None:
    for phrases in attribute_phrases().values():
        for one in (*phrases.tell, *phrases.change, *phrases.answer):
            assert one.count("{v}") == 1
        for one in (*phrases.ask, *phrases.unknown):
            assert "{" not in one
    assert {one.attribute for one in personal_requests()} <= attribute_phrases().keys()


def test_nothing_that_judges_a_module_is_in_what_it_is_trained_on() -> None:
    known = {_plain(line) for name in ("requests", "chatter", "fillers") for line in lines(name)}
    phrases = attribute_phrases().values()
    known |= {_plain(one) for ways in phrases for one in (*ways.tell, *ways.ask)}
    known |= {_plain(one.ask) for one in personal_requests()}
    known |= {_plain(one.ask) for part in PARTS for one in never_told(part)}

    held_out: list[str] = []
    for file in HELD_OUT.glob("*.jsonl"):
        for line in file.read_text(encoding="utf-8").splitlines():
            held_out += _said(json.loads(line))

    common = sorted(known & {_plain(text) for text in held_out})
    assert common == []


def _said(row: dict[str, object]) -> list[str]:
    questions = row.get("questions", [])
    assert isinstance(questions, list)
    told = row.get("tell", [])
    assert isinstance(told, list)
    found = [str(row[name]) for name in ("ask", "say") if name in row]
    found += [*map(str, row.get("near", ())), *map(str, row.get("far", ()))]  # pyright: ignore[reportArgumentType]
    return [*found, *map(str, told), *(str(one["ask"]) for one in questions)]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _plain(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum() or character == " ").strip()
