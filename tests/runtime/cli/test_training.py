"""What a person reads of a training: how far it is, how its loss fell, where a revision comes from."""

from typing import Any

import pytest
from rich.console import Console

from populace.cli.lineage import history_tree
from populace.cli.training import exit_status, spark, told

RUNNING: dict[str, Any] = {
    "state": "running",
    "step": 5,
    "steps": 20,
    "loss": 1.25,
    "reward": None,
    "tokens": 1000,
    "seconds": 10.0,
}


@pytest.mark.parametrize(
    ("job", "idle_s", "said"),
    [
        ({}, 0.0, "learning  loss 1.250  100 tokens/s"),
        ({"reward": 0.5}, 0.0, "learning  reward 0.500  100 tokens/s"),
        ({}, 60.0, "being judged, or waiting for turns  loss 1.250  100 tokens/s"),
        ({"state": "waiting", "loss": None}, 60.0, "waiting for the trainer"),
        ({"loss": None}, 60.0, "reading the log"),
        ({"state": "promoting"}, 0.0, "loading the new revision"),
    ],
)
def test_an_open_job_is_told_by_its_phase(job: dict[str, Any], idle_s: float, said: str) -> None:
    assert told({**RUNNING, **job}, idle_s) == said


@pytest.mark.parametrize(
    ("losses", "drawn"),
    [
        ([], ""),
        ([2.0], ""),
        ([1.0, 1.0], ""),
        ([8.0, 1.0], "█▁"),
        ([8.0, 5.0, 1.0], "█▅▁"),
    ],
)
def test_a_curve_of_losses_falls_from_left_to_right(losses: list[float], drawn: str) -> None:
    assert spark(list(enumerate(losses))) == drawn


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ([], 3),
        (["promoted"], 0),
        (["waiting", "running"], 0),
        (["rejected"], 3),
        (["promoted", "skipped"], 3),
        (["cancelled"], 3),
        (["failed", "rejected"], 1),
    ],
)
def test_the_exit_status_is_zero_only_if_every_model_got_what_it_was_trained_for(
    states: list[str], status: int
) -> None:
    assert exit_status([{"state": state} for state in states]) == status


def test_a_long_curve_keeps_its_ends_and_fits_a_line() -> None:
    drawn = spark([(step, 1000.0 - step) for step in range(1000)])

    assert (len(drawn), drawn[0], drawn[-1]) == (24, "█", "▁")


def revision(digest: str, parent: str | None, **lineage: Any) -> dict[str, Any]:
    told_of = None
    if lineage:
        told_of = {
            "log_range": [0, 24],
            "hyper_parameters": {"steps": 8, "seed": 0, "learning_rate": 5e-4},
            "scores": {},
            "objections": [],
            "tokens": 100,
            "seconds": 1.0,
            **lineage,
        }
    return {
        "id": digest * 64,
        "parent": None if parent is None else parent * 64,
        "method": "sft",
        "rank": 8,
        "bytes": 1e6,
        "created": 0,
        "lineage": told_of,
        "sources": [],
    }


def test_a_history_hangs_revisions_below_their_parents_and_says_what_was_objected() -> None:
    scores = {"held_out_loss_parent": 2.0, "held_out_loss": 1.0, "held_out_replies": 3.0, "probe_kl": 0.1}
    rewarded = {"held_out_reward_parent": 0.1, "held_out_reward": 0.8, "held_out_tasks": 4.0, "probe_kl": 0.1}
    revisions = [
        revision("c", "b", objections=["it forgot"], scores=scores),
        revision("a", None),
        revision("b", "a", scores=scores),
        revision("d", "e", scores=rewarded),
    ]

    console = Console(width=120)
    with console.capture() as capture:
        console.print(history_tree("ada", revisions, {"latest": "b" * 64}))
    lines = capture.get().splitlines()

    depth = {
        line.lstrip("│ └├─")[0]: len(line) - len(line.lstrip("│ └├─")) for line in lines if "sft" in line
    }
    assert depth["a"] == depth["d"] < depth["b"] < depth["c"]
    assert "@latest" in next(line for line in lines if "b" * 12 in line)
    assert any("held-out loss 2.000 → 1.000 on 3 replies" in line for line in lines)
    assert any("held-out reward 0.100 → 0.800 on 4 tasks" in line for line in lines)
    assert any("not promoted: it forgot" in line for line in lines)
