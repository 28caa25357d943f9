"""Generated facts that the base cannot guess: one, three, ten and thirty of them."""

from collections.abc import Sequence
from typing import NamedTuple

from examples.memory_module.episodes import Episode
from scripts.bench.recall.asking import Asker, side_by_side
from scripts.bench.recall.generated import ANY_WORDS, TITLES, TRAINED, UNSEEN, kinds, told_episodes
from scripts.bench.recall.grading import denies, names_value
from scripts.bench.recall.person import Person, Way
from scripts.bench.recall.tables import Table, share_aim, share_row

NAME = "generated"
COUNTS = (1, 3, 10, 30)
SHARE = 0.4
"""Each kind and number of facts gets this share of the requests as questions."""

AIMED = {TRAINED: 90.0, UNSEEN: 85.0, ANY_WORDS: 75.0}
AIMED_FACTS = 3
MANY, MANY_MIN = 10, 60.0
DENIED_MAX = 3.0


class Recalled(NamedTuple):
    """The grades of a reply from memory to a question about one of ``facts`` facts."""

    title: str
    facts: int
    right: bool
    denied: bool


async def measure_told_facts(
    asker: Asker, way: Way, words: Sequence[str], requests: int, seed: int
) -> list[Recalled]:
    """Have each person tell each fact in a conversation, and ask for each of them in another."""
    # People with the most facts begin, because their thirty sequential turns take longer than all the others.
    people = [
        (kind.title, facts, episode)
        for facts in sorted(COUNTS, reverse=True)
        for kind in kinds(facts)
        for episode in told_episodes(words, kind, max(1, round(SHARE * requests / facts)), seed)
    ]
    asker.progress.begin("Generated facts", 2 * sum(facts for _, facts, _ in people))

    async def recalled(title: str, facts: int, episode: Episode) -> list[Recalled]:
        person = Person(asker, way)
        await person.tell_all([said.content for said in episode.messages[::2]])
        replies = await side_by_side([person.ask(question.ask) for question in episode.questions])
        graded: list[Recalled] = []
        for question, reply in zip(episode.questions, replies, strict=True):
            right = names_value(reply.text, question.value)
            graded.append(Recalled(title, facts, right, denies(reply.text, right=right)))
        return graded

    by_person = await side_by_side([recalled(*person) for person in people])
    return [answer for answers in by_person for answer in answers]


def told_facts_table(recalled: Sequence[Recalled]) -> Table:
    """Return rows by number of facts and kind of values, and the aims."""
    table = Table()
    for facts in COUNTS:
        for title in TITLES:
            right = [answer.right for answer in recalled if (answer.title, answer.facts) == (title, facts)]
            table.rows += share_row(NAME, f"{title}, {facts}", "recalled", right)
            if facts == AIMED_FACTS:
                table.aims += share_aim(f"three facts recalled, {title}", right, AIMED[title])
        of_all = [answer for answer in recalled if answer.facts == facts]
        table.rows += share_row(NAME, f"all values, {facts}", "recalled", [answer.right for answer in of_all])
        table.rows += share_row(
            NAME, f"all values, {facts}", "told, but denied", [answer.denied for answer in of_all]
        )
    many = [answer.right for answer in recalled if answer.facts == MANY]
    denied = [answer.denied for answer in recalled if answer.facts == AIMED_FACTS]
    table.aims += share_aim("ten facts recalled", many, MANY_MIN)
    table.aims += share_aim("three facts told, but denied", denied, DENIED_MAX, at_most=True)
    return table
