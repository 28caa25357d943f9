"""Scenes: what people say of their lives in their own words, and questions about every detail of it.

The attributes of ``phrases.py`` are told and asked for by what they are ("my city"). A scene is asked for
anything that it says ("Who wrecked my sandal?"), in other words than it was told in. Its text has slots,
``{city}`` or ``{city2}``, for values of the kinds of ``values.py`` or of the scene's own lists.
"""

import hashlib
import json
import random
import re
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from populace.module_training.corpus_files import HELD_OUT_SHARE, corpus_text, lines
from populace.module_training.episodes import Question
from populace.module_training.phrases import with_article
from populace.module_training.values import Part, Values, is_held_out

_SLOT = re.compile(r"\{(([a-z ]+?)\d?)\}")
_WORD = re.compile(r"[a-z]{4,}")

DRAWS_MAX = 20
"""A value that is different from the others of a scene is drawn this often at most."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Asked(_Part):
    """A question ``q`` about a scene and its answer ``a``, which has the value ``v`` as it was told."""

    q: str
    a: str
    v: str


class Scene(_Part):
    """Messages of one person, and questions that they answer.

    ``not_told`` has questions that they do not answer, with the reply that says so, and ``general`` has
    requests on the same subject that have nothing to do with the person.
    """

    tell: Annotated[tuple[str, ...], Field(min_length=1)]
    ask: Annotated[tuple[Asked, ...], Field(min_length=1)]
    slots: dict[str, tuple[str, ...]] = {}
    not_told: tuple[tuple[str, str], ...] = ()
    general: tuple[str, ...] = ()

    @cached_property
    def subjects(self) -> frozenset[str]:
        """The words that its questions are about; two scenes of one person must share none."""
        asked = " ".join([*(one.q for one in self.ask), *(ask for ask, _ in self.not_told)]).lower()
        return frozenset(_WORD.findall(asked)).difference(lines("common_words"))


class FilledScene:
    """A scene with values in its slots."""

    def __init__(self, scene: Scene, values: Mapping[str, str], part: Part) -> None:
        self._scene = scene
        self._values = values
        self._part = part

    @property
    def messages(self) -> list[str]:
        """What the person says, in order."""
        return [self._filled(text) for text in self._scene.tell]

    @property
    def questions(self) -> list[Question]:
        """Questions about what was said; in training, those whose value has no held-out word."""
        questions = [
            Question(ask=self._filled(one.q), answer=self._filled(one.a), value=self._filled(one.v))
            for one in self._scene.ask
        ]
        if self._part == "held-out":
            return questions
        return [one for one in questions if one.value and not any(map(is_held_out, one.value.split()))]

    @property
    def not_told(self) -> list[Question]:
        """Questions about what was not said."""
        return [
            Question(ask=self._filled(ask), answer=self._filled(answer))
            for ask, answer in self._scene.not_told
        ]

    @property
    def general(self) -> list[Question]:
        """Requests that the base answers."""
        return [Question(ask=self._filled(ask), answer=None) for ask in self._scene.general]

    def _filled(self, text: str) -> str:
        return with_article(_SLOT.sub(lambda slot: self._values[slot[1]], text))


def filled_scene(scene: Scene, values: Values, part: Part, source: random.Random) -> FilledScene:
    """Draw a value for each slot of a scene; slots of one kind get different values."""
    drawn: dict[str, str] = {}
    for slot, kind in dict.fromkeys(_SLOT.findall("\n".join(scene.tell))):
        taken = frozenset(drawn.values())
        listed = scene.slots.get(kind)
        drawn[slot] = _drawn(values, kind, taken) if listed is None else _chosen(listed, part, source, taken)
    return FilledScene(scene, drawn, part)


def _drawn(values: Values, kind: str, taken: frozenset[str]) -> str:
    """Draw a value of this kind that is not taken, or any word if the kind has no other."""
    tried = (values.draw(kind) for _ in range(DRAWS_MAX))
    return next((value for value in tried if value not in taken), values.word())


def _chosen(listed: Sequence[str], part: Part, source: random.Random, taken: frozenset[str]) -> str:
    """Choose a value that is not taken, if possible one whose words are of this part."""
    free = [value for value in listed if value not in taken]
    wanted = [value for value in free if any(map(is_held_out, value.split())) == (part == "held-out")]
    return source.choice(wanted or free or listed)


@cache
def scenes_of(part: Part) -> tuple[Scene, ...]:
    """Return the scenes that only this part uses, ``HELD_OUT_SHARE`` of all for held-out episodes."""
    scenes = [Scene.model_validate(json.loads(line)) for line in corpus_text("scenes.jsonl").splitlines()]
    ordered = sorted(scenes, key=lambda scene: hashlib.sha256(scene.tell[0].encode()).digest())
    count = round(HELD_OUT_SHARE * len(ordered))
    return tuple(ordered[:count] if part == "held-out" else ordered[count:])
