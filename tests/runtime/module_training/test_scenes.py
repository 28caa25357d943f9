"""Scenes: every question is answered by what was told, values fill their slots, and each part has its own."""

import random
import re
from typing import get_args

import pytest

from populace.module_training.corpus_files import lines, listed_values
from populace.module_training.scenes import Scene, filled_scene, scenes_of
from populace.module_training.values import Part, ValueOptions, Values, is_held_out

PARTS: tuple[Part, ...] = get_args(Part)
WORDS = tuple(f"word{number}" for number in range(400))
SCENES = tuple(scene for part in PARTS for scene in scenes_of(part))
SLOT = re.compile(r"\{[^}]*\}")

TOLD_TWICE = Scene.model_validate(
    {
        "tell": ["I moved to {city}.", "No, wait, it is {city2}, and a {home} there."],
        "slots": {"home": ["attic", "cellar"]},
        "ask": [
            {"q": "Where do I live?", "a": "You live in {city2}.", "v": "{city2}"},
            {"q": "What did I call it first?", "a": "You called it {city}.", "v": "{city}"},
        ],
        "not_told": [["Which street is it in?", "You have not told me which street it is in."]],
        "general": ["Is {city} cold in winter?"],
    }
)


def values_of(part: Part, seed: int = 1) -> Values:
    return Values(WORDS, part, ValueOptions(open_share=0.0), seed=seed, lists=listed_values())


def test_there_are_thousands_of_scenes_and_each_is_there_once() -> None:
    told = [re.sub(r"[^a-z]+", " ", " ".join(scene.tell).lower()) for scene in SCENES]

    assert len(told) > 2000
    assert len(set(told)) == len(told)


def test_no_scene_is_of_both_parts_and_each_part_has_some() -> None:
    train, held_out = (scenes_of(part) for part in PARTS)

    assert len(train) > len(held_out) > 100
    assert not {scene.tell for scene in train} & {scene.tell for scene in held_out}


def test_every_answer_repeats_what_was_told() -> None:
    wrong = [
        asked
        for scene in SCENES
        for asked in scene.ask
        if asked.v not in "\n".join(scene.tell) or asked.v not in asked.a or not asked.v
    ]

    assert wrong == []


def test_every_slot_is_told_and_has_values() -> None:
    """What a question fills in must have been told, and each kind must be one that values are drawn for."""
    source = random.Random(1)
    values = values_of("train")
    for scene in SCENES:
        told = set(SLOT.findall("\n".join(scene.tell)))
        asked = [text for one in scene.ask for text in (one.q, one.a, one.v)]
        others = [*(text for pair in scene.not_told for text in pair), *scene.general]
        assert set(SLOT.findall("\n".join([*asked, *others]))) <= told, scene.tell
        filled = filled_scene(scene, values, "train", source)
        assert "{" not in "".join(filled.messages), scene.tell


def test_what_was_not_told_is_said_so() -> None:
    replies = [reply for scene in SCENES for _, reply in scene.not_told]

    assert len(replies) > 500
    assert all(reply.startswith("You have not told me") for reply in replies)


@pytest.mark.parametrize("part", PARTS)
def test_a_slot_has_one_value_wherever_it_stands(part: Part) -> None:
    filled = filled_scene(TOLD_TWICE, values_of(part), part, random.Random(3))

    first, second = filled.messages
    place = second.removeprefix("No, wait, it is ").split(",")[0]
    assert place not in first
    questions = {question.ask: question for question in filled.questions}
    if part == "train":
        assert not [one for one in questions.values() if any(map(is_held_out, str(one.value).split()))]
    else:
        assert questions["Where do I live?"].answer == f"You live in {place}."
        assert questions["What did I call it first?"].value in first
    assert filled.general[0].answer is None
    assert filled.not_told[0].answer == "You have not told me which street it is in."


def test_an_article_goes_with_the_value_behind_it() -> None:
    values = values_of("train")
    filled = [filled_scene(TOLD_TWICE, values, "train", random.Random(seed)) for seed in range(40)]
    homes = {one.messages[1].split("and ")[1] for one in filled}

    assert homes <= {"an attic there.", "a cellar there."}
    assert homes


def test_the_same_words_make_two_scenes_about_the_same() -> None:
    assert TOLD_TWICE.subjects == {"street"}, "words that every question may have do not count"
    assert "where" in lines("common_words")
