"""Is what a model is shown to know of its person right?

Thirty hand-written people (``tests/held_out/known.jsonl``) tell of families, pets, work, places and
allergies, and also ask, joke, quote, suppose and change their minds. Then each model is asked what it knows.
What it answered in the same words before was judged by hand; what it answers anew is printed to be judged.

Starts and stops a Populace of its own:

    python examples/known_people.py
    python examples/known_people.py --people 3 --sure-min 0.5 --json facts.json
"""

import argparse
import json
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from remember import served
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

import populace
from populace.actors.known import SURE_MIN

PEOPLE = Path(__file__).parent.parent / "tests" / "held_out" / "known.jsonl"
REPLY_TOKENS = 40


def main() -> None:
    options = _options()
    # SIGTERM stops the server too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console()
    people = [json.loads(line) for line in PEOPLE.read_text("utf-8").splitlines()][: options.people]
    rows: list[dict[str, Any]] = []
    seconds: list[float] = []
    with (
        tempfile.TemporaryDirectory(prefix="known-people-") as folder,
        served(Path(folder), options),
        populace.connect(data=Path(folder) / "data") as population,
    ):
        for person in track(people, "people", console=console, transient=True):
            model = population.create(person["person"])
            for said in person["says"]:
                model.chat(said, max_tokens=REPLY_TOKENS, temperature=0)
            started = time.perf_counter()
            known = model.memory.known(sure_min=options.sure_min, wait=True)
            seconds.append(time.perf_counter() - started)
            judged = {(one["ask"], one["answer"].strip()): one["right"] for one in person["answers"]}
            rows += [
                {
                    "person": person["person"],
                    "ask": fact.question,
                    "answer": fact.answer.strip(),
                    "said": fact.said,
                    "how": fact.how,
                    "right": judged.get((fact.question, fact.answer.strip())),
                }
                for fact in known.facts
            ]
    _print(console, rows, seconds)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _print(console: Console, rows: list[dict[str, Any]], seconds: list[float]) -> None:
    table = Table("person", "asked", "shown", "how", "from", "judged")
    words = {True: "right", False: "wrong", None: "not yet"}
    for row in rows:
        cells = (row["person"], row["ask"], row["answer"], row["how"], row["said"], words[row["right"]])
        table.add_row(*map(escape, cells))
    console.print(table)
    counts = ", ".join(
        f"{sum(row['right'] is is_right for row in rows)} {word}" for is_right, word in words.items()
    )
    console.print(f"{len(rows)} facts of {len(seconds)} people: {counts}.", highlight=False)
    console.print(f"Asking one took {min(seconds):.0f} to {max(seconds):.0f} s.", highlight=False)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Is what a model is shown to know of its person right?")
    parser.add_argument("--people", type=int, default=30, help="how many of the thirty")
    parser.add_argument("--sure-min", type=float, default=SURE_MIN, help="show no less certain facts")
    parser.add_argument("--engine", default="auto", choices=("auto", "vllm", "torch"))
    parser.add_argument("--memory-module", default="shipped", help="a file, or the module that is shipped")
    parser.add_argument("--json", type=Path, help="write every fact to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
