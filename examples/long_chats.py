"""Does a chat of fifteen messages stay a conversation, or does it loop, end in noise, or say itself again?

Thirty chats were written by hand (``tests/held_out/conversations.jsonl``): each goes from one thing to
another, some of their messages have an answer that can be checked, and ten are of people with names and
places of other languages than English. The chats are held by one new model each, as any OpenAI client does
it: the whole chat is sent again with each message, and nothing is said of sampling. Then again in other ways,
the last two of them without what the server does against repetitions.

Starts and stops a Populace of its own:

    python examples/long_chats.py
    python examples/long_chats.py --way "as it comes" --json chats.json
"""

import argparse
import json
import signal
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from openai import OpenAI
from remember import served
from rich.console import Console
from rich.progress import track
from rich.table import Table

from populace.policies.degeneration import degeneration

CONVERSATIONS = Path(__file__).parent.parent / "tests" / "held_out" / "conversations.jsonl"
REPEATED = 0.6
"""From this share of words in the same order on, a reply says an earlier one of its chat again."""

WAYS: Mapping[str, Mapping[str, Any]] = {
    "as it comes": {},
    "repetition_penalty 1.1": {"repetition_penalty": 1.1},
    "nothing against repetitions": {"repetition_penalty": 1.0, "repetition_detection": {}},
    "sampled at 1.0, nothing against repetitions": {
        "temperature": 1.0,
        "top_p": 1.0,
        "repetition_penalty": 1.0,
        "repetition_detection": {},
    },
}


class Said(NamedTuple):
    """A message and its reply; ``right`` is None if the reply cannot be checked.

    ``degenerate`` is what the reply had become, by the server's own judgement.
    """

    say: str
    reply: str
    is_whole: bool
    is_repeated: bool
    degenerate: str | None
    right: bool | None


def main() -> None:
    options = _options()
    # SIGTERM stops the server too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console()
    chats = conversations()[: options.chats]
    measured: dict[str, list[list[Said]]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="long-chats-") as folder,
        served(Path(folder), options) as server,
        httpx.Client(base_url=server.url, headers=server.headers, timeout=60) as http,
        ThreadPoolExecutor(len(chats)) as pool,
    ):
        for number, way in enumerate(track(options.way or WAYS, "chats", console=console, transient=True)):
            names = [f"chat-{number}-{chat}" for chat in range(len(chats))]
            for name in names:
                http.post("/v1/personal-models", json={"name": name}).raise_for_status()
            held = partial(hold, server.client, WAYS[way], options.tokens)
            measured[way] = list(pool.map(held, names, chats))
    _print(console, measured)
    if options.json is not None:
        rows = {way: [[said._asdict() for said in chat] for chat in held] for way, held in measured.items()}
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def conversations() -> list[list[dict[str, Any]]]:
    """Return the messages of the chats, each with what a right reply has, if that can be said."""
    return [json.loads(line)["turns"] for line in CONVERSATIONS.read_text("utf-8").splitlines()]


def hold(
    client: OpenAI,
    said_of_sampling: Mapping[str, Any],
    tokens: int,
    name: str,
    turns: Sequence[Mapping[str, Any]],
) -> list[Said]:
    """Hold one chat. The seed is the same in each, so that ways differ in nothing else."""
    messages: list[Any] = []
    chat: list[Said] = []
    for turn in turns:
        messages.append({"role": "user", "content": turn["say"]})
        completion = client.chat.completions.create(
            model=name,
            messages=messages,
            max_tokens=tokens,
            seed=1,
            extra_body=dict(said_of_sampling),
        )
        [choice] = completion.choices
        reply = choice.message.content or ""
        messages.append({"role": "assistant", "content": reply})
        values = turn.get("value")
        chat.append(
            Said(
                turn["say"],
                reply,
                choice.finish_reason == "stop",
                any(says_again(reply, earlier.reply) for earlier in chat),
                broken.kind if (broken := degeneration(reply)) else None,
                any(value.lower() in reply.lower() for value in values) if values else None,
            )
        )
    return chat


def says_again(reply: str, earlier: str) -> bool:
    words, earlier_words = reply.lower().split(), earlier.lower().split()
    return SequenceMatcher(None, words, earlier_words, autojunk=False).ratio() >= REPEATED


def _print(console: Console, measured: Mapping[str, Sequence[Sequence[Said]]]) -> None:
    table = Table("chats", "loops or noise", "said again", "right", "ran to their limit")
    for way, held in measured.items():
        replies = [said for chat in held for said in chat]
        checked = [said.right for said in replies if said.right is not None]
        table.add_row(
            way,
            f"{sum(said.degenerate is not None for said in replies)} of {len(replies)}",
            f"{sum(said.is_repeated for said in replies)} of {len(replies)}",
            f"{sum(checked)} of {len(checked)}",
            f"{sum(not said.is_whole for said in replies)}",
        )
    console.print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Does a chat of fifteen messages stay a conversation?")
    parser.add_argument("--chats", type=int, default=30, help="how many of the thirty")
    parser.add_argument("--tokens", type=int, default=400, help="how long a reply may be")
    parser.add_argument(
        "--way", action="append", choices=tuple(WAYS), help="one of the ways; may be repeated"
    )
    parser.add_argument("--engine", default="auto", choices=("auto", "vllm", "torch"))
    parser.add_argument("--memory-module", default="shipped", help="a file, or the module that is shipped")
    parser.add_argument("--json", type=Path, help="write every reply to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
