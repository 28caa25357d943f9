"""What is left of what was told after a long chat about other things."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from populace.bench.intervals import ratio_of
from populace.bench.recall.asking import Asker, side_by_side
from populace.bench.recall.chatter import FACTS, chat, drawn_chatter, hear_base
from populace.bench.recall.generated import kinds, told_episodes
from populace.bench.recall.grading import is_right, names_value
from populace.bench.recall.held_out import Say, Telling
from populace.bench.recall.person import Person, Way
from populace.bench.recall.tables import Table, row, share_row
from populace.bench.report import Aim

NAME = "chat"
KEPT_MIN = 90.0


class Quiz(NamedTuple):
    """What a person tells, all ``together`` or one by one, and questions with what grades a reply."""

    of: str
    tell: tuple[str, ...]
    together: bool
    questions: tuple[tuple[str, Callable[[str], bool]], ...]


class Kept(NamedTuple):
    """How many questions a person's memory answered right after so many turns of chat."""

    of: str
    asked: int
    right: dict[int, int]


def quizzes_of(words: Sequence[str], tellings: Sequence[Telling], people: int, seed: int) -> list[Quiz]:
    """So many people of each kind of generated facts, and one for each telling that is asked for."""
    generated = [
        Quiz(
            "generated",
            tuple(said.content for said in episode.messages[::2]),
            together=False,
            questions=tuple(
                (question.ask, partial(names_value, value=question.value)) for question in episode.questions
            ),
        )
        for kind in kinds(FACTS)
        for episode in told_episodes(words, kind, people, seed)
    ]
    written = [
        Quiz(
            "hand-written",
            telling.tell,
            together=True,
            questions=tuple(
                (question.ask, partial(is_right, question))
                for question in telling.questions
                if question.value and question.kind != "used"
            ),
        )
        for telling in tellings
    ]
    return [*generated, *(one for one in written if one.questions)]


async def measure_long_chat(
    asker: Asker, way: Way, quizzes: Sequence[Quiz], chatter: Sequence[Say], turns: Sequence[int], seed: int
) -> list[Kept]:
    """Ask at once and after so many turns, in rising order. Each turn is a conversation of its own."""
    each = sum(len(quiz.tell) + len(quiz.questions) * (1 + len(turns)) for quiz in quizzes)
    asker.progress.begin("A long chat", each + len(quizzes) * turns[-1] + min(len(chatter), turns[-1]))

    async def right(person: Person, quiz: Quiz) -> int:
        replies = await side_by_side([person.ask(ask) for ask, _ in quiz.questions])
        return sum(is_hit(reply.text) for reply, (_, is_hit) in zip(replies, quiz.questions, strict=True))

    async def one(quiz: Quiz, says: Sequence[Say]) -> Kept:
        person = Person(asker, way)
        await person.tell_all(quiz.tell, together=quiz.together)
        kept = Kept(quiz.of, len(quiz.questions), {0: await right(person, quiz)})
        for start, stop in zip((0, *turns), turns, strict=False):
            await chat(asker, person, says[start:stop], together=False)
            kept.right[stop] = await right(person, quiz)
        return kept

    chats = [
        drawn_chatter(chatter, turns[-1], f"long chat {seed} {number}") for number in range(len(quizzes))
    ]
    await hear_base(asker, chats)
    return await side_by_side([one(quiz, says) for quiz, says in zip(quizzes, chats, strict=True)])


def long_chat_table(kept: Sequence[Kept]) -> Table:
    table = Table()
    if not kept:
        return table
    points = sorted(kept[0].right)
    for of in dict.fromkeys(one.of for one in kept):
        for turns in points:
            hits = [place < one.right[turns] for one in kept if one.of == of for place in range(one.asked)]
            table.rows += share_row(NAME, f"{of}, after {turns} turns", "recalled", hits)
    for turns in points[1:]:
        ratio = ratio_of([(float(one.right[turns]), float(one.right[0])) for one in kept]).times(100)
        table.rows.append(
            row(NAME, f"all, after {turns} turns", "of what was at once", ratio, "%", len(kept))
        )
        if turns == points[-1]:
            name = f"recalled after {turns} turns, of at once"
            table.aims.append(Aim(name, round(ratio.value, 1), KEPT_MIN, "%", at_most=False))
    return table
