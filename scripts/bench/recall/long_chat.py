"""How much is recalled of what was told after a long chat about other things."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from scripts.bench.intervals import ratio_of
from scripts.bench.recall.asking import Asker, side_by_side
from scripts.bench.recall.chatter import FACTS, chat, drawn_chatter, hear_base
from scripts.bench.recall.generated import kinds, told_episodes
from scripts.bench.recall.grading import is_right, names_value
from scripts.bench.recall.held_out import Say, Telling
from scripts.bench.recall.person import Person, Way
from scripts.bench.recall.tables import Table, row, share_row
from scripts.bench.report import Aim

NAME = "chat"
KEPT_MIN = 90.0


class Quiz(NamedTuple):
    """A person's tellings and questions, each question with the function that grades its reply.

    The tellings are in one conversation if ``together``, and else in one each.
    """

    of: str
    tell: tuple[str, ...]
    together: bool
    questions: tuple[tuple[str, Callable[[str], bool]], ...]


class Kept(NamedTuple):
    """A person's result: ``right[turns]`` of ``asked`` questions were right after that many turns of chat."""

    of: str
    asked: int
    right: dict[int, int]


def quizzes_of(words: Sequence[str], tellings: Sequence[Telling], people: int, seed: int) -> list[Quiz]:
    """Return quizzes: ``people`` for each kind of generated facts, and one for each telling."""
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
    return [*generated, *(quiz for quiz in written if quiz.questions)]


async def measure_long_chat(
    asker: Asker, way: Way, quizzes: Sequence[Quiz], chatter: Sequence[Say], turns: Sequence[int], seed: int
) -> list[Kept]:
    """Ask right after the tellings, and again after each number of ``turns``, which rise.

    Each turn of the chat is a conversation of its own.
    """
    each = sum(len(quiz.tell) + len(quiz.questions) * (1 + len(turns)) for quiz in quizzes)
    asker.progress.begin("A long chat", each + len(quizzes) * turns[-1] + min(len(chatter), turns[-1]))

    async def right(person: Person, quiz: Quiz) -> int:
        replies = await side_by_side([person.ask(ask) for ask, _ in quiz.questions])
        return sum(is_hit(reply.text) for reply, (_, is_hit) in zip(replies, quiz.questions, strict=True))

    async def kept_by(quiz: Quiz, says: Sequence[Say]) -> Kept:
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
    return await side_by_side([kept_by(quiz, says) for quiz, says in zip(quizzes, chats, strict=True)])


def long_chat_table(kept: Sequence[Kept]) -> Table:
    """Return the shares recalled after each number of turns, and of what was recalled at once."""
    table = Table()
    if not kept:
        return table
    points = sorted(kept[0].right)
    for of in dict.fromkeys(result.of for result in kept):
        for turns in points:
            hits = [
                place < result.right[turns]
                for result in kept
                if result.of == of
                for place in range(result.asked)
            ]
            table.rows += share_row(NAME, f"{of}, after {turns} turns", "recalled", hits)
    for turns in points[1:]:
        pairs = [(float(result.right[turns]), float(result.right[0])) for result in kept]
        ratio = ratio_of(pairs).times(100)
        table.rows.append(
            row(NAME, f"all, after {turns} turns", "of what was at once", ratio, "%", len(kept))
        )
        if turns == points[-1]:
            name = f"recalled after {turns} turns, of at once"
            table.aims.append(Aim(name, round(ratio.value, 1), KEPT_MIN, "%", at_most=False))
    return table
