"""Run a client's program in its environment and read what became of its scenarios."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import populace
from populace.settings.environment import process_environment
from tests.clients.environments import command
from tests.clients.pinned import WORKS, Client
from tests.end_to_end.served import Served
from tests.limits import ENGINE_HANG_SECONDS


@dataclass(frozen=True)
class Result:
    """What became of a scenario: ``WORKS``, or the words of the refusal; and the turns it made."""

    scenario: str
    outcome: str
    turns: tuple[str | None, ...]


class ProgramFailed(Exception):
    """A program ended before it had told of its scenarios; the message has the end of what it wrote."""


def outcomes_of(
    client: Client, folder: Path | None, served: Served, tokenizer: Path, scratch: Path
) -> dict[str, str]:
    """Run the program with a model of its own; what it made, and no more, must be in the model's log."""
    model = served.create(client.name.replace(" ", "-"))
    results = run(client, folder, scratch, client_environment(served.url, served.key, model, tokenizer))

    made = [turn for result in results for turn in result.turns]
    with populace.connect(data=served.data) as population:
        replies = [turn.reply for turn in population.model(model).log(limit=1000)]
    assert len(replies) == len(made)
    # Null has no words to compare: how the log tells of calls of tools is not a client's to know.
    assert [reply for reply, turn in zip(replies, made, strict=True) if turn is not None] == [
        turn for turn in made if turn is not None
    ]
    return {result.scenario: result.outcome for result in results}


def run(client: Client, folder: Path | None, scratch: Path, environment: dict[str, str]) -> list[Result]:
    """Run the program to its end in ``scratch``; without a folder, in this project's own environment."""
    arguments = [sys.executable, str(client.path)] if folder is None else command(client, folder, scratch)
    ran = subprocess.run(
        arguments,
        cwd=scratch,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=ENGINE_HANG_SECONDS,
        check=False,
    )
    (scratch / "stderr.txt").write_text(ran.stderr, encoding="utf-8")
    if ran.returncode:
        raise ProgramFailed(f"{client.program} ended with {ran.returncode}:\n{ran.stderr[-3000:]}")
    # Clients print too.
    lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{"scenario"')]
    return [
        Result(line["scenario"], WORKS if line["ok"] else line["error"], tuple(line["turns"]))
        for line in lines
    ]


def client_environment(url: str, key: str, model: str, tokenizer: Path) -> dict[str, str]:
    """Return the variables that the programs read, and those that keep clients from other networks."""
    return process_environment(
        OPENAI_BASE_URL=f"{url}/v1",
        OPENAI_API_KEY=key,
        MODEL=model,
        TOKENIZER=str(tokenizer),
        LITELLM_LOCAL_MODEL_COST_MAP="True",
        HF_HUB_OFFLINE="1",
        HF_DATASETS_OFFLINE="1",
        DO_NOT_TRACK="1",
        PYTHONWARNINGS="ignore",
    )
