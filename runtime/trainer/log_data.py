"""Reads what a job learns from a log: its turns, and the feedback on them that was given in time."""

from populace.actors.feedback import Feedback
from populace.actors.hosts import Hosts, ModelView
from populace.actors.turn import Interaction, ModelId

PAGE = 1000


async def settled_position(hosts: Hosts, view: ModelView) -> int:
    """Return where the log ends without a newest turn that may still get its reply."""
    end = view.log_position
    newest = await hosts.read_log(view.model, start=end - 1, limit=1) if end else ()
    return end - 1 if newest and newest[-1].answer is None else end


async def read_log_data(
    hosts: Hosts, model: ModelId, log_range: tuple[int, int], until_ms: int
) -> tuple[list[Interaction], list[Feedback]]:
    """Read the turns at the positions of ``log_range`` and the feedback on them before ``until_ms``."""
    log: list[Interaction] = []
    given: list[Feedback] = []
    start, stop = log_range
    while start < stop:
        page = await hosts.read_log(model, start=start, limit=min(PAGE, stop - start))
        log += [turn for turn in page if turn.position < stop]
        if not page:
            break
        start = page[-1].position + 1
    start = log_range[0]
    while start < stop:
        opinions = await hosts.read_feedback(model, start=start, limit=PAGE)
        given += [
            opinion for opinion in opinions if opinion.position < stop and opinion.created_ms < until_ms
        ]
        if len(opinions) < PAGE:
            break
        # The rest of this position is read again with the next page.
        last = opinions[-1].position
        given = [opinion for opinion in given if opinion.position < last]
        start = last
    return log, given
