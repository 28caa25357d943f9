"""Reinforcement learning with a verifiable reward: a model learns sums from whether its replies are right.

Each prompt of a round gets eight sampled replies, a reward function grades the number in each, and right
replies become likelier (GRPO). Adapters of several ranks and seeds are trained, and each is measured on
held-out sums beside the base. Replies are sampled at temperature 1 in training and in the measurement;
"greedy" is the share of greedy replies that are right.

    python examples/verifiable_rl.py
    python examples/verifiable_rl.py --ranks 1 --seeds 1 --rounds 10 --json rewards.json --svg rewards.svg

"Gain" is (after − before) / (1 − before), the share of the possible improvement; "KL" is the divergence from
the base on the model's own replies, in nats per token. No files are left but those that options name.
"""

import argparse
import itertools
import json
import random
import signal
import statistics
import tempfile
import time
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from populace.actors.engine import Message, OwnedEngine
from populace.actors.errors import NothingToTrain
from populace.actors.reward_tasks import RewardTask
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.base.prepare import prepare_base
from populace.engines.in_process import start_in_process
from populace.engines.prompts import BaseTokenizer
from populace.learning.frozen_base import FrozenBase
from populace.learning.on_policy.reward import RewardMethod, RewardOptions
from populace.learning.on_policy.rounds import RolloutCurriculum, RoundOptions
from populace.learning.on_policy.sampler import EngineSampler, engine_sampler
from populace.learning.session import StepOptions, StepReport, TrainingSession, take_step
from populace.pictures.curves import curves_picture
from populace.pictures.figures import require_matplotlib
from populace.settings.environment import enter_quiet_environment
from populace.settings.settings import Settings
from populace.storage.revisions import RevisionFiles
from populace.suites.rewards import rewarded

REWARD = "number"
NUMBER_MAX = 9
HELD_OUT = 16
"""Held-out pairs of numbers, of 45."""
HELD_OUT_REPLIES = 8
HELD_OUT_SEED = 1_000_003
PROMPTS = 8
"""Prompts in a round."""
ROUND = RoundOptions(replies=8, tokens_max=12, steps=2)
LEARNING_RATE = 5e-4
CONTEXT_TOKENS = 256
SPLIT_SEED = 0


class Score(NamedTuple):
    """The shares of right replies to held-out sums: of sampled ones, and of greedy ones."""

    sampled: float
    greedy: float


class Run(NamedTuple):
    """One adapter's training: its scores afterwards, its divergence, and the mean reward of each step."""

    rank: int
    seed: int
    after: Score
    kl_parent: float
    rewards: list[float]
    seconds: float


def main() -> None:
    options = _options()
    console = Console()
    if options.svg is not None:
        require_matplotlib()
    # SIGTERM is handled as Ctrl-C, which also ends the engine's process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    enter_quiet_environment()
    base = prepare_base(None, Settings.from_environment().cache)
    frozen, tokenizer = FrozenBase(base.directory, base.fingerprint), BaseTokenizer(base.directory)
    taught, held_out = sums()

    def start() -> Awaitable[OwnedEngine]:
        return start_in_process(base, context_tokens=CONTEXT_TOKENS, rank_max=max(options.ranks))

    runs: list[Run] = []
    with (
        tempfile.TemporaryDirectory(prefix="verifiable-rl-") as folder,
        engine_sampler(start, RevisionFiles(Path(folder))) as sampler,
    ):
        before = score(sampler, frozen, _session(frozen, min(options.ranks), 0, 1).adapter, held_out)
        console.print(f"The base is right in {before.sampled:.0%} of held-out replies.", highlight=False)
        for seed, rank in itertools.product(range(options.seeds), options.ranks):
            session = _session(frozen, rank, seed, options.rounds * ROUND.steps)
            method = RewardMethod(taught, frozen, tokenizer, None, RewardOptions(REWARD))
            began = time.monotonic()
            reports = _learn(frozen, session, RolloutCurriculum(method, sampler, frozen, ROUND), console)
            took = time.monotonic() - began
            after = score(sampler, frozen, session.adapter, held_out)
            rewards = [report.metrics["reward"] for report in reports]
            runs.append(Run(rank, seed, after, reports[-1].metrics["kl_parent"], rewards, took))
            console.print(f"rank {rank}, seed {seed}: {after.sampled:.0%} in {took:.0f} s", highlight=False)
    _print(console, options.ranks, before, runs)
    if options.json is not None:
        body = {
            "before": before._asdict(),
            "runs": [run._asdict() | {"after": run.after._asdict()} for run in runs],
        }
        options.json.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    if options.svg is not None:
        options.svg.write_text(rewards_picture(runs), encoding="utf-8")


def rewards_picture(runs: Sequence[Run]) -> str:
    """Return a chart of the right replies by round and rank: means over seeds, up to the shortest run."""
    steps = min(len(run.rewards) for run in runs)
    means = {
        f"rank {rank}": [
            statistics.fmean(run.rewards[step] for run in runs if run.rank == rank)
            for step in range(0, steps, ROUND.steps)
        ]
        for rank in sorted({run.rank for run in runs})
    }
    return curves_picture("Share of a round's replies that are right", means, across="round")


def sums() -> tuple[list[RewardTask], list[RewardTask]]:
    """Return sums to train on and held-out sums; both orders of two numbers are on the same side."""
    pairs = list(itertools.combinations_with_replacement(range(1, NUMBER_MAX + 1), 2))
    random.Random(SPLIT_SEED).shuffle(pairs)
    return _asked(pairs[HELD_OUT:]), _asked(pairs[:HELD_OUT])


def _asked(pairs: Sequence[tuple[int, int]]) -> list[RewardTask]:
    return [
        RewardTask(
            (Message("system", "Be brief."), Message("user", f"What is {first} + {second}?")),
            {"answer": first + second},
        )
        for pair in pairs
        for first, second in sorted({pair, pair[::-1]})
    ]


def score(
    sampler: EngineSampler, base: FrozenBase, adapter: TrainableAdapter, tasks: Sequence[RewardTask]
) -> Score:
    """Ask the tasks, with the same sampling seed for every adapter, and grade the replies."""
    packed, prompts = adapter.pack(base.fingerprint, base.dtype), [task.prompt for task in tasks]
    groups = sampler.sample(
        packed, prompts, replies=HELD_OUT_REPLIES, tokens_max=ROUND.tokens_max, seed=HELD_OUT_SEED
    )
    greedy = sampler.answers(packed, prompts, tokens_max=ROUND.tokens_max)
    return Score(
        statistics.fmean(
            _right(task, rollout.reply)
            for task, group in zip(tasks, groups, strict=True)
            for rollout in group
        ),
        statistics.fmean(_right(task, reply.reply) for task, reply in zip(tasks, greedy, strict=True)),
    )


def _right(task: RewardTask, reply: str) -> float:
    return rewarded("model", REWARD, task.prompt, reply, task.known)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a model on whether its own replies are right.")
    parser.add_argument(
        "--ranks", type=int, nargs="+", default=[1, 4, 16], help="ranks of adapters (default: 1 4 16)"
    )
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each rank (default: 3)")
    parser.add_argument(
        "--rounds", type=int, default=10, help="rounds of 8 prompts with 8 replies each (default: 10)"
    )
    parser.add_argument("--json", type=Path, help="write the scores and each step's reward to this file")
    parser.add_argument("--svg", type=Path, help="draw the rewards by round to this SVG file")
    return parser.parse_args()


def _session(base: FrozenBase, rank: int, seed: int, steps: int) -> TrainingSession:
    adapter = TrainableAdapter.begin(base.model, base.modules, LoraShape(rank=rank), "uniform", seed=seed)
    return TrainingSession(
        f"rank-{rank}-seed-{seed}",
        adapter,
        StepOptions(steps=steps, learning_rate=LEARNING_RATE, warm_up=2, seed=seed),
    )


def _learn(
    base: FrozenBase, session: TrainingSession, curriculum: RolloutCurriculum, console: Console
) -> list[StepReport]:
    """Take all steps, or stop when all replies to each prompt have the same reward."""
    reports: list[StepReport] = []
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(session.name, total=session.options.steps)
        while session.step < session.options.steps:
            try:
                objective = curriculum.objective(session, PROMPTS)
            except NothingToTrain:
                if not reports:
                    raise
                break
            [outcome] = take_step(base, [(session, objective)])
            if not isinstance(outcome, StepReport):
                raise outcome
            reports.append(outcome)
            right = outcome.metrics["reward"]
            progress.update(task, advance=1, description=f"{session.name}: {right:.0%} of its replies right")
    return reports


def _print(console: Console, ranks: Sequence[int], before: Score, runs: Sequence[Run]) -> None:
    table = Table("rank", "before", "after", "each seed", "gain", "greedy", "KL", "seconds a run")
    for rank in ranks:
        of_rank = [run for run in runs if run.rank == rank]
        after = statistics.fmean(run.after.sampled for run in of_rank)
        table.add_row(
            str(rank),
            f"{before.sampled:.0%}",
            f"{after:.0%}",
            ", ".join(f"{run.after.sampled:.0%}" for run in of_rank),
            f"{(after - before.sampled) / (1 - before.sampled):.2f}",
            f"{before.greedy:.0%} → {statistics.fmean(run.after.greedy for run in of_rank):.0%}",
            f"{statistics.fmean(run.kl_parent for run in of_rank):.2f}",
            f"{statistics.fmean(run.seconds for run in of_rank):.0f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
