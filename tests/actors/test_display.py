"""What a person sees of a value in Python: one line without tokens, and a table that is only text."""

from dataclasses import replace

import pytest

from populace.actors.engine import Message
from populace.actors.forgetting import Forgotten
from populace.actors.hosts import ModelView, Revision
from populace.actors.known import Known, KnownFact
from populace.actors.memory import MemoryTrace
from populace.actors.peek import Peek
from populace.actors.training import JobProgress, TrainingJob
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import Interaction, ModelId
from tests.actors.turns import revision

ADA = ModelId("local", "ada")
BAD = "<script>alert(1)</script>\n& "
LONG = BAD + "x" * 5000

TURN = Interaction(
    model=ADA,
    position=3,
    operation="op",
    completion_id="chatcmpl-1",
    messages=(Message("user", LONG),),
    reply=LONG,
    finish_reason="stop",
    prompt_tokens=9,
    completion_tokens=9,
    revision="f" * 64,
    base="b" * 64,
    memory_version=1,
    created_ms=0,
    memory=MemoryTrace(read=True, written_from=0, reply_ids=tuple(range(70000, 70100))),
)
FACT = KnownFact(LONG, LONG, 0.5, 3, LONG)
REVISION: Revision = revision()
JOB = TrainingJob(
    ADA, 0, TrainingOptions(), "rejected", LONG, 0, progress=JobProgress(8, 9, 0.5, curve=((1, 2.0),) * 500)
)
VIEW = ModelView(ADA, "b" * 64, 0, 0, 8, 0, 0, {"latest": "f" * 64}, active=True)
PEEK = Peek(ADA, LONG, "stop", 1, 1, "f" * 64, "b" * 64, 0)


@pytest.mark.parametrize(
    "value",
    [
        TURN,
        replace(TURN, forgotten=True),
        FACT,
        Known(ADA, (FACT,) * 30, (LONG,)),
        REVISION,
        JOB,
        VIEW,
        PEEK,
        Forgotten(ADA, near=(TURN,)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_is_one_line_of_its_name_and_what_matters(value: object) -> None:
    line = repr(value)

    assert "\n" not in line
    assert len(line) < 260
    assert "7000" not in line, "tokens are nothing to read"
    assert line.startswith("<")


@pytest.mark.parametrize("value", [TURN, FACT, Known(ADA, (FACT,), ()), REVISION, JOB])
def test_a_notebook_shows_a_small_table_in_which_everything_is_text(
    value: Interaction | KnownFact | Known | Revision | TrainingJob,
) -> None:
    html = value._repr_html_()

    assert html.startswith("<table>")
    assert "<script" not in html
    assert len(html) < 4000
    if value is not REVISION:
        assert "&lt;script&gt;alert(1)" in html


def test_a_forgotten_turn_shows_nothing() -> None:
    gone = replace(TURN, forgotten=True)

    assert "script" not in repr(gone) + gone._repr_html_()
