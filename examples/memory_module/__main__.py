"""``python -m examples.memory_module``: makes the episodes for a memory module, trains it, and tests it."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.progress import Progress, TaskID
from rich.table import Table

from populace.cli.arguments import AsJson, Base
from populace.cli.console import CommandFailed, err, named_errors, out, print_json, progress
from populace.settings.environment import enter_quiet_environment
from populace.settings.settings import Settings

if TYPE_CHECKING:
    from examples.memory_module.answer_learning import Scored
    from examples.memory_module.recall import Recall, Validation

app = typer.Typer(help="Make, train and test memory modules.", no_args_is_help=True)

CORPUS_EXAMPLES = """Examples:

python -m examples.memory_module corpus train.jsonl --episodes 20000 --seed 1

python -m examples.memory_module corpus easy.jsonl --episodes 6000 --facts-max 2 --words-max 1

python -m examples.memory_module corpus held-out.jsonl --part held-out --episodes 200 --seed 2

python -m examples.memory_module corpus people.jsonl --own-words --seed 3
"""

TRAIN_EXAMPLES = """Examples:

python -m examples.memory_module train train.jsonl --held-out held-out.jsonl --to module.safetensors

python -m examples.memory_module train train.jsonl --held-out held-out.jsonl --to module.safetensors --resume

python -m examples.memory_module train people.jsonl --held-out others.jsonl --to module.safetensors --gated

python -m examples.memory_module train hard.jsonl --held-out h.jsonl --first m.safetensors --to b.safetensors

populace serve --memory-module module.safetensors
"""


@app.command(epilog=CORPUS_EXAMPLES)
def corpus(
    to: Annotated[Path, typer.Argument(help="The file of episodes to write.", dir_okay=False)],
    episodes: Annotated[int, typer.Option(min=1, help="Number of episodes.")] = 20_000,
    part: Annotated[
        Literal["train", "held-out"],
        typer.Option(help="Which values of facts to draw: those to train on, or the held-out ones."),
    ] = "train",
    facts_min: Annotated[
        int, typer.Option(min=1, max=20, help="Smallest number of facts in an episode.")
    ] = 1,
    facts_max: Annotated[int, typer.Option(min=1, max=20, help="Largest number of facts in an episode.")] = 3,
    words_max: Annotated[int, typer.Option(min=1, max=8, help="Largest number of words in a value.")] = 3,
    open_share: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Share of values, 0 to 1, that are arbitrary words instead of the attribute's kind.",
        ),
    ] = 0.4,
    own_words: Annotated[
        bool,
        typer.Option(
            "--own-words",
            help="In people's own words, from 1 to 10 facts, between small talk and requests; "
            "the other options of facts and values do not count.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="The same seed makes the same episodes.")] = 1,
    base: Base = None,
) -> None:
    """Make episodes of personal facts, told in a conversation and asked for in a later one.

    Needs the `train` extra. Every held-out value has a word that no training value has.
    """
    with named_errors():
        if facts_min > facts_max:
            raise CommandFailed(f"--facts-min {facts_min} is more than --facts-max {facts_max}.")
        enter_quiet_environment()
        from populace.base.prepare import prepare_base

        try:
            from examples.memory_module.facts import FactsOptions, fact_episodes
            from examples.memory_module.own_words import own_words_episodes
        except ImportError as error:
            raise CommandFailed("Making episodes takes Faker: pip install faker.") from error
        from examples.memory_module.episodes import write_episodes
        from examples.memory_module.words import words_of

        files = prepare_base(base, Settings.from_environment().cache, allow_hub=base is not None)
        options = FactsOptions(
            facts_min=facts_min, facts_max=facts_max, words_max=words_max, open_share=open_share
        )
        words = words_of(files.directory)
        source = (
            own_words_episodes(words, part, seed=seed)
            if own_words
            else fact_episodes(words, part, seed=seed, options=options)
        )
        with progress() as display:
            made = display.track(itertools.islice(source, episodes), total=episodes, description="Episodes")
            count = write_episodes(to, made)
        out.print(f"Wrote {count} episodes to {to}.", highlight=False)


@app.command(epilog=TRAIN_EXAMPLES)
def train(
    episodes: Annotated[
        Path, typer.Argument(help="File of the episodes to train on.", exists=True, dir_okay=False)
    ],
    held_out: Annotated[
        Path,
        typer.Option(
            help="File of the episodes to validate on; never trained on.", exists=True, dir_okay=False
        ),
    ],
    to: Annotated[Path, typer.Option(help="The memory module file to write.", dir_okay=False)],
    steps: Annotated[int, typer.Option(min=1, help="Largest number of training steps.")] = 1000,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Episodes in a step. Default: 16, with gates 32.")
    ] = None,
    step_size: Annotated[
        float | None,
        typer.Option(min=1e-6, help="Initial relative step size. Default: 0.03, with gates 0.007."),
    ] = None,
    rank: Annotated[
        int | None, typer.Option(min=1, max=64, help="Rows of a state, its rank. Default: 8, with gates 64.")
    ] = None,
    states: Annotated[int, typer.Option(min=1, max=16, help="Parallel states in each layer.")] = 1,
    writes: Annotated[
        Literal["token", "message"],
        typer.Option(help="What is written to the memory: each token, or the mean of each message."),
    ] = "token",
    gated: Annotated[
        bool,
        typer.Option("--gated", help="Add gates, so that general requests get the base model's own replies."),
    ] = False,
    first_layer: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="With gates: index of the first layer with a memory. Default: a quarter of the layers.",
        ),
    ] = None,
    layer_step: Annotated[
        int,
        typer.Option(
            min=1, help="With gates: distance between layers with a memory, counted from the first."
        ),
    ] = 4,
    probe_batches: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Batches of episodes that the initial parameters are solved from. "
            "Default: 50, with gates all.",
        ),
    ] = None,
    start: Annotated[
        Literal["probe", "published"],
        typer.Option(help="Initial parameters: solved from episodes (one state, tokens written), or random."),
    ] = "probe",
    first: Annotated[
        Path | None, typer.Option(help="Continue from this trained module.", exists=True, dir_okay=False)
    ] = None,
    sparsity: Annotated[
        float, typer.Option(min=0, help="Weight in the loss of how often the memory is written.")
    ] = 0.0,
    validate_every: Annotated[int, typer.Option(min=1, help="Number of steps between validations.")] = 100,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1, help="Without gates: stop after this many validations without progress. Default: 5."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed trains the same module.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="Compute threads. Default: all cores.")] = None,
    resume: Annotated[bool, typer.Option(help="Continue from the checkpoint beside --to.")] = False,
    base: Base = None,
) -> None:
    """Train a memory module for a base, so that a conversation's memory answers later questions.

    Ctrl-C ends training; the best module so far is kept, and --resume continues from the last validation.
    With --gated the base computes every episode once, which takes about a megabyte per episode for the
    default base, and --first continues training a finished module.
    """
    with named_errors():
        if first_layer is not None and not gated:
            raise CommandFailed("--first-layer is for modules with gates: add --gated.")
        without_gates = {
            "--resume": resume,
            "--sparsity": sparsity,
            "--start published": start == "published",
            "--patience": patience is not None,
            "--probe-batches": probe_batches is not None,
        }
        odd = [name for name, asked in without_gates.items() if asked]
        if gated and odd:
            raise CommandFailed(f"{odd[0]} is for modules without gates; --first trains one with gates on.")
        if not to.absolute().parent.is_dir():
            raise CommandFailed(f"There is no directory {to.absolute().parent} for the module.")
        enter_quiet_environment()
        from examples.memory_module.answer_learning import AnswerOptions
        from examples.memory_module.episodes import read_episodes
        from examples.memory_module.gated_training import GatedTrainer
        from examples.memory_module.training import MemoryTrainer, TrainOptions
        from populace.adapters.base_modules import read_base_modules
        from populace.adapters.memory.attention import attention_layers
        from populace.adapters.memory.layer import FIRST_LAYER_SHARE, MemoryShape
        from populace.base.prepare import prepare_base

        files = prepare_base(base, Settings.from_environment().cache, allow_hub=base is not None)
        rank = rank or (64 if gated else 8)
        shape = MemoryShape(rank=rank, alpha=2.0 * rank, states=states, writes=writes)
        if gated:
            layers = len(attention_layers(read_base_modules(files.directory, files.fingerprint)))
            first_layer = round(FIRST_LAYER_SHARE * layers) if first_layer is None else first_layer
            if first_layer >= max(layers, 1):
                raise CommandFailed(f"--first-layer {first_layer} is not one of the base's {layers} layers.")
            shape = replace(shape, gated=True, first_layer=first_layer, layer_step=layer_step)
        checkpoint = to.with_suffix(".checkpoint")
        given: dict[str, Any] = {
            name: value
            for name, value in (
                ("batch", batch),
                ("step_size", step_size),
                ("patience", patience),
                ("probe_batches", probe_batches),
            )
            if value is not None
        }
        with progress() as display:
            told = _Told(display, steps)
            made_of = (
                files.directory,
                files.fingerprint,
                read_episodes(episodes),
                read_episodes(held_out),
                shape,
            )
            try:
                if gated:
                    best = GatedTrainer(
                        *made_of,
                        AnswerOptions(steps, validate_every=validate_every, seed=seed, **given),
                        told,
                        first=first,
                        threads=threads,
                    ).run(keep=to)
                else:
                    best = MemoryTrainer(
                        *made_of,
                        TrainOptions(
                            steps,
                            seed=seed,
                            validate_every=validate_every,
                            sparsity=sparsity,
                            start=start,
                            **given,
                        ),
                        told,
                        first=first,
                        checkpoint=checkpoint if resume else None,
                        threads=threads,
                    ).run(checkpoint, keep=to)
            except KeyboardInterrupt:
                goes_on = ""
                if gated and told.best is not None:
                    goes_on = f" {to} is the best module so far; `--first {to}` trains it on."
                elif not gated and checkpoint.exists():
                    goes_on = f" `--resume` goes on from {checkpoint}."
                err.print(f"Stopped.{goes_on}", highlight=False)
                raise typer.Exit(130) from None
        out.print(
            f"{to}: step {best.step}, {best.exact:.1%} of held-out answers right to the token.",
            highlight=False,
        )


@app.command()
def inspect(
    module: Annotated[Path, typer.Argument(help="A memory module file.", exists=True, dir_okay=False)],
    as_json: AsJson = False,
) -> None:
    """Show the base, shape, digest and size of a memory module.

    Example: `python -m examples.memory_module inspect module.safetensors`.
    """
    with named_errors():
        from hashlib import sha256

        from populace.adapters.memory.header import read_metadata

        data = module.read_bytes()
        told = {**read_metadata(data), "digest": sha256(data).hexdigest(), "bytes": len(data)}
        if as_json:
            print_json(told)
            return
        table = Table(show_header=False, box=None)
        for name, value in told.items():
            table.add_row(name, str(value))
        out.print(table)


LINE_EVERY = 10
"""Steps between lines of progress if there is no terminal to draw a bar on."""


class _Told:
    """Shows how far training is."""

    def __init__(self, display: Progress, steps: int) -> None:
        self._display = display
        self._doing: TaskID = display.add_task("Loading the base", total=None)
        self._training: TaskID | None = None
        self._steps = steps
        self.best: Validation | None = None

    def doing(self, what: str, share: float) -> None:
        self._display.update(self._doing, description=what, total=1.0, completed=share, visible=True)

    def stepped(self, step: int, scored: "Recall") -> None:
        exact = float(scored.exact.float().mean()) if len(scored.exact) else 0.0
        self._advance(step, float(scored.loss.detach()), f"right {exact:.0%}")

    def answered(self, step: int, scored: "Scored") -> None:
        """Show a validation of a module with gates."""
        self._advance(
            step, float(scored.loss.detach()), f"tokens right {float(scored.right.float().mean()):.0%}"
        )

    def validated(self, validation: "Validation", best: "Validation") -> None:
        self.best = best
        mark = " (best)" if validation == best else ""
        self._display.console.print(
            f"step {validation.step}: held-out loss {validation.loss:.3f}, "
            f"of values {validation.value_loss:.3f}, right {validation.exact:.1%}{mark}",
            highlight=False,
        )

    def _advance(self, step: int, loss: float, right: str) -> None:
        self._display.update(self._doing, visible=False)
        if self._training is None:
            self._training = self._display.add_task("Training", total=self._steps)
        what = f"Training: loss {loss:.2f}, {right}"
        self._display.update(self._training, description=what, completed=step)
        if not self._display.console.is_terminal and step % LINE_EVERY == 0:
            self._display.console.print(f"step {step} of {self._steps}. {what}", highlight=False)


if __name__ == "__main__":
    app()
