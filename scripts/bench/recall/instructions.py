"""Instructions whose replies can be checked, with a memory and without."""

from collections.abc import Sequence
from typing import NamedTuple

from scripts.bench.recall.asking import Asker, alone, side_by_side
from scripts.bench.recall.chatter import Chatted
from scripts.bench.recall.grading import follows
from scripts.bench.recall.held_out import Instruction
from scripts.bench.recall.tables import Table, share_row

NAME = "instructions"


class Followed(NamedTuple):
    """Whether the replies with a memory and of the base pass the check; ``is_sum`` if it is for a number."""

    is_sum: bool
    memory: bool
    base: bool


async def measure_instructions(
    asker: Asker, people: Sequence[Chatted], instructions: Sequence[Instruction]
) -> list[Followed]:
    """Give each instruction to the base and to one of the people, in turn."""
    asker.progress.begin("Instructions", 2 * len(instructions))

    async def followed(instruction: Instruction, chatted: Chatted) -> Followed:
        base = await asker.base(alone(instruction.ask))
        reply = await chatted.person.ask(instruction.ask)
        is_sum = instruction.check.number is not None
        return Followed(is_sum, follows(instruction.check, reply.text), follows(instruction.check, base.text))

    return await side_by_side(
        [
            followed(instruction, people[number % len(people)])
            for number, instruction in enumerate(instructions)
        ]
    )


def instructions_table(followed: Sequence[Followed]) -> Table:
    """Return the shares of replies that pass, of all instructions and of sums."""
    table = Table()
    sums = [result for result in followed if result.is_sum]
    for of, some in (("all", followed), ("sums", sums)):
        table.rows += share_row(NAME, f"{of}, memory", "as wanted", [result.memory for result in some])
        table.rows += share_row(NAME, f"{of}, base", "as wanted", [result.base for result in some])
    return table
