"""What people see of a memory."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

import numpy as np
import pytest

from populace.actors.errors import MemoryStateInvalid
from populace.actors.known import Known
from populace.actors.memories import MemoryView
from populace.actors.turn import ModelId
from populace.adapters.memory.state import StateFormat
from populace.pictures.memory import PersonalMemory

ADA = ModelId("local", "ada")
FORMAT = StateFormat("ab" * 32, layers=12, states=2, rank=4)


def memory(state: bytes | None) -> PersonalMemory:
    return PersonalMemory.of(MemoryView(ADA, 3, state, ()))


def test_the_norms_are_those_of_the_layers() -> None:
    state = np.zeros(FORMAT.shape, np.float32)
    state[2, 1, 0, 0], state[2, 0, 3, 3] = 3.0, -4.0

    seen = memory(FORMAT.pack(state))
    assert seen.norms == (0.0, 0.0, 5.0, *[0.0] * 9)
    assert (seen.module, seen.bytes) == ("ab" * 32, 4 * state.size)


def test_the_picture_has_a_square_for_each_value_and_a_label_for_each_layer() -> None:
    state = np.random.default_rng(1).normal(size=FORMAT.shape).astype(np.float32)

    picture = memory(FORMAT.pack(state)).picture()
    drawn = ElementTree.fromstring(picture)
    width, height = int(drawn.attrib["width"]), int(drawn.attrib["height"])
    squares = [one for one in drawn if one.tag.endswith("rect") and one.attrib.get("width") == "7"]
    labels = [one.text or "" for one in drawn if one.tag.endswith("text")]
    assert len(squares) == state.size
    assert sum(": " in label for label in labels) >= FORMAT.layers
    assert all(0 <= int(one.attrib["x"]) < width and 0 <= int(one.attrib["y"]) < height for one in squares)


def test_a_model_that_was_told_nothing_has_a_picture_that_says_so() -> None:
    seen = memory(None)

    assert (seen.module, seen.norms, seen.bytes) == (None, (), 0)
    assert "nothing was written yet" in seen.picture()


def test_a_state_of_zeros_can_be_drawn() -> None:
    ElementTree.fromstring(memory(FORMAT.pack(FORMAT.empty())).picture())


def test_a_damaged_state_is_an_error_by_name() -> None:
    with pytest.raises(MemoryStateInvalid):
        memory(FORMAT.pack(FORMAT.empty())[:-1])


def test_a_text_is_one_question_and_not_one_for_each_letter() -> None:
    asked: list[object] = []

    def ask(questions: Sequence[str], **options: object) -> Known:
        asked.append(questions)
        return Known(ADA, (), ())

    for questions in ("Where do I live?", ("Where do I live?",), ()):
        PersonalMemory.of(MemoryView(ADA, 3, None, ()), ask).known(questions)

    assert asked == ["Where do I live?", ("Where do I live?",), ()]
