# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch.optim and transformers' loading functions are partly untyped.
"""Training a memory module on episodes: the cross-entropy of the answers, through the scan."""

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, cast

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest
from populace.adapters.base_modules import read_base_modules
from populace.adapters.memory.attached import AttachedMemory
from populace.adapters.memory.attention import attention_layers
from populace.adapters.memory.initial import initial_module
from populace.adapters.memory.layer import MemoryShape
from populace.adapters.memory.module import MemoryModule
from populace.engines.prompts import BaseTokenizer
from populace.learning.memory.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from populace.learning.memory.encoding import (
    EncodedEpisode,
    EncodedEpisodes,
    EpisodeEncoder,
    batch_of,
)
from populace.learning.memory.episodes import Episode
from populace.learning.memory.gate_fitting import fit_gates
from populace.learning.memory.gated_start import start_gated
from populace.learning.memory.recall import Recall, gated_recall, recall
from populace.learning.memory.start import start_by_probe
from populace.learning.memory.stored_inputs import (
    StoredOptions,
    StoredScore,
    learn_from_stored,
    stored_inputs,
)
from populace.storage.files import write_durably

OWN_REPLY_TOKENS_MAX = 24
ASKED_TOGETHER = 32
STORED = torch.bfloat16
"""What a trained module is stored in: half of the bytes."""

GATE_EPISODES = 3000
"""For gates more tell nothing new."""

DELTA_SIZE = 0.05
"""About that of a gated module's trained deltas, which begin as zero."""

WINDOW_BATCHES = 4
"""Batches are cut from so many times their size, sorted by length: less of them is padding."""


Start = Literal["probe", "published"]
"""Solve for the first parameters, or draw them as the published code does."""


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """How to train. The same options and episodes give the same module, on the same number of threads.

    ``step_size`` is relative: each parameter tensor moves by that share of its own size a step, falling as
    a cosine. ``sparsity`` weighs how far the mean rate of writing is from ``sparsity_rate``. Training ends
    after ``steps``, or when ``patience`` validations in a row were no better than the best. Only a module
    with one state for each layer, into which every token is written, can be solved for: others are drawn.
    A gated one learns for ``stored_steps`` from what ``probe_batches`` of episodes have of the base alone,
    and then through it.
    """

    steps: int = 1000
    batch: int = 16
    step_size: float = 0.03
    warm_up: int = 20
    seed: int = 0
    validate_every: int = 100
    patience: int = 5
    sparsity: float = 0.0
    sparsity_rate: float = 0.05
    probe_batches: int = 50
    start: Start = "probe"
    stored_steps: int = 500


class Validation(NamedTuple):
    """What the held-out episodes scored. ``exact`` is the share of answers that were right to the token."""

    step: int
    loss: float
    value_loss: float
    exact: float


class TrainProgress(Protocol):
    """Who is told how far training is."""

    def doing(self, what: str, share: float) -> None: ...

    def stepped(self, step: int, scored: Recall) -> None: ...

    def validated(self, validation: Validation, best: Validation) -> None: ...


class MemoryTrainer:
    """One training session. ``save`` keeps all of it, and ``resume`` goes on with the same numbers."""

    def __init__(
        self,
        base_directory: Path,
        fingerprint: str,
        train: Sequence[Episode],
        validation: Sequence[Episode],
        shape: MemoryShape,
        options: TrainOptions,
        progress: TrainProgress,
        *,
        first: Path | None = None,
        checkpoint: Path | None = None,
        threads: int | None = None,
    ) -> None:
        """Load the base, have it answer what has no answer, and make the first module.

        ``first`` trains that module on, ``checkpoint`` goes on where a session stopped. ``threads`` None
        computes on every core. Raises ``InvalidRequest`` for a base that cannot have a memory, for a first
        module of another shape, and for a checkpoint that is damaged or of other options.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        self._options = options
        self._progress = progress
        self._model = cast(
            "PreTrainedModel",
            AutoModelForCausalLM.from_pretrained(
                str(base_directory),
                dtype=torch.bfloat16,
                local_files_only=True,
                # Sequences are short, and the fused kernels' backward passes slow on a CPU.
                attn_implementation="eager",
            ).eval(),
        )
        self._model.requires_grad_(False)
        attention = attention_layers(read_base_modules(base_directory, fingerprint))
        if not attention:
            raise InvalidRequest(
                "This base's attention has no layers that a memory can be attached to.", "base"
            )
        self._tokenizer = BaseTokenizer(base_directory)
        self.memory = initial_module(self._model, attention, fingerprint, shape, seed=options.seed)
        self._attached = AttachedMemory(self._model, self.memory, attention)
        self._attention = attention
        # Where a gate is closed the base answers by itself, and there is nothing to learn.
        replies = {} if shape.gated else self._own_replies([*train, *validation])
        encoder = EpisodeEncoder(self._tokenizer, replies, gated=shape.gated)
        if shape.gated:
            train, validation = (
                [one for one in part if any(asked.answer is not None for asked in one.questions)]
                for part in (train, validation)
            )
        self._recall = gated_recall if shape.gated else recall
        self._train = EncodedEpisodes(encoder, train)
        self._validation = [encoder.encode(episode) for episode in validation]
        self._step = 0
        self._best: Validation | None = None
        self._worse = 0
        if first is not None:
            trained = MemoryModule.read(first, fingerprint, attention)
            if trained.shape != shape:
                raise InvalidRequest(f"{first} has another shape: {trained.shape}.", "first")
            self.memory.load_state_dict(trained.state_dict())
        probes = options.start == "probe" and checkpoint is None and first is None
        if probes and shape.gated:
            self._start_gated(train)
        elif probes and shape.states == 1 and shape.writes == "token":
            batches = [self._episodes(step) for step in range(options.probe_batches)]
            start_by_probe(
                self._model,
                self._attached,
                self.memory,
                attention,
                batches,
                seed=options.seed,
                step=progress.doing,
            )
        self._best_parameters = self._parameters()
        self._optimizer = self._new_optimizer()
        self._session = {
            "base": fingerprint,
            "shape": asdict(shape),
            "options": asdict(options),
            "episodes": [_digest(train), _digest(validation)],
        }
        if checkpoint is not None:
            self.resume(checkpoint)

    @property
    def best(self) -> tuple[dict[str, torch.Tensor], Validation | None]:
        """The parameters that validated best, and how they did."""
        return self._best_parameters, self._best

    def run(self, checkpoint: Path | None = None, *, keep: Path | None = None) -> Validation:
        """Train to the end and return the best validation.

        Each one writes a ``checkpoint``, and a better one the module to the file ``keep``.
        """
        options = self._options
        if self._best is None:
            self._validate(keep)
            if checkpoint is not None:
                self.save(checkpoint)
        while self._step < options.steps and self._worse < options.patience:
            scored = self._take_step()
            self._step += 1
            self._progress.stepped(self._step, scored)
            if self._step % options.validate_every == 0 or self._step == options.steps:
                self._validate(keep)
                if checkpoint is not None:
                    self.save(checkpoint)
        assert self._best is not None
        return self._best

    def save(self, path: Path) -> None:
        """Write everything that training goes on from: parameters, moments, step and the best module."""
        told = {
            "session": self._session,
            "step": self._step,
            "worse": self._worse,
            "best": self._best,
            "sizes": [group["size"] for group in self._optimizer.param_groups],
        }
        moments = self._optimizer.state_dict()["state"]
        write_checkpoint(path, Checkpoint(told, self.memory.state_dict(), self._best_parameters, moments))

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint of the same session. Raises ``InvalidRequest`` for any other file.

        Base, shape, options and episodes must be those that it was made with.
        """
        kept = read_checkpoint(path)
        session = kept.told["session"]
        if session != self._session:
            other = [name for name in self._session if session.get(name) != self._session[name]]
            raise InvalidRequest(
                f"{path} was made with other {' and '.join(other)}: {[session.get(one) for one in other]}.",
                "resume",
            )
        self.memory.load_state_dict(dict(kept.memory))
        groups = self._optimizer.state_dict()["param_groups"]
        for group, size in zip(groups, kept.told["sizes"], strict=True):
            group["size"] = size
        self._optimizer.load_state_dict({"state": dict(kept.optimizer), "param_groups": groups})
        self._step, self._worse = kept.told["step"], kept.told["worse"]
        self._best = None if kept.told["best"] is None else Validation(*kept.told["best"])
        self._best_parameters = dict(kept.best)

    def _start_gated(self, train: Sequence[Episode]) -> None:
        """Fit the gates, solve for what recalls, and let it learn from what the base alone computes."""
        options, memory = self._options, self.memory
        assert memory.gates is not None
        chosen = range(min(len(train), options.probe_batches * options.batch))
        fit_gates(
            self._model,
            self._tokenizer,
            self._attention[memory.shape.first_layer],
            memory.gates,
            [train[index] for index in chosen[:GATE_EPISODES]],
            progress=partial(self._progress.doing, "Fitting the gates"),
        )
        stored, validation = (
            stored_inputs(
                self._model,
                self._attention,
                memory.shape,
                episodes,
                batch=options.batch,
                progress=partial(self._progress.doing, "Probing the base"),
            )
            for episodes in ([self._train[index] for index in chosen], self._validation)
        )
        solving = partial(self._progress.doing, "Solving for keys and values")
        start_gated(self._model, memory, stored, seed=options.seed, progress=solving)
        learn_from_stored(
            self._model,
            memory,
            stored,
            validation,
            StoredOptions(steps=options.stored_steps, seed=options.seed),
            step=self._learned,
        )

    def _learned(self, share: float, scored: StoredScore) -> None:
        self._progress.doing(f"Learning to recall, {scored.right:.0%} of tokens right", share)

    def _parameters(self) -> dict[str, torch.Tensor]:
        return {name: tensor.clone() for name, tensor in self.memory.state_dict().items()}

    def _take_step(self) -> Recall:
        options = self._options
        for group in self._optimizer.param_groups:
            group["lr"] = group["size"] * options.step_size * _schedule(self._step, options)
        batch = batch_of(self._episodes(self._step))
        scored = self._recall(self._model, self._attached, self.memory, batch)
        loss = scored.loss
        if options.sparsity:
            loss = loss + options.sparsity * ((scored.rate - options.sparsity_rate) ** 2).mean()
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.memory.parameters(), 1.0)
        self._optimizer.step()
        return scored

    @torch.no_grad()
    def _validate(self, keep: Path | None) -> None:
        scored: list[Recall] = []
        size = self._options.batch
        for start in range(0, len(self._validation), size):
            batch = batch_of(self._validation[start : start + size])
            scored.append(self._recall(self._model, self._attached, self.memory, batch))
            self._progress.doing("Validating", min(1.0, (start + size) / len(self._validation)))
        count = len(scored)
        validation = Validation(
            self._step,
            float(sum(one.loss for one in scored) / count),
            float(sum(one.value_loss for one in scored) / count),
            float(torch.cat([one.exact for one in scored]).float().mean()),
        )
        if self._best is None or validation.loss < self._best.loss:
            self._best, self._best_parameters, self._worse = validation, self._parameters(), 0
            if keep is not None:
                write_durably(keep, self.memory.pack(STORED))
        else:
            self._worse += 1
        self._progress.validated(validation, self._best)

    def _new_optimizer(self) -> torch.optim.AdamW:
        groups = [
            {"params": [parameter], "size": self._size(name, parameter)}
            for name, parameter in self.memory.named_parameters()
            if not name.startswith("gates.")  # fitted, and nothing of a loss reaches them
        ]
        return torch.optim.AdamW(groups, lr=0.0, weight_decay=0.0, betas=(0.9, 0.99))

    def _size(self, name: str, parameter: torch.Tensor) -> float:
        """What a tensor's steps are relative to. Those that begin as zero have the size that they come to."""
        size = float(parameter.detach().square().mean().sqrt())
        return max(size, DELTA_SIZE if self.memory.shape.gated and "delta" in name else 1e-3)

    def _episodes(self, step: int) -> list[EncodedEpisode]:
        """The batch of a step: a function of the seed and the step alone, so that training can go on."""
        size = self._options.batch
        window, place = divmod(step, WINDOW_BATCHES)
        source = random.Random(f"batches {self._options.seed} {window}")  # noqa: S311 - not a secret
        chosen = [source.randrange(len(self._train)) for _ in range(WINDOW_BATCHES * size)]
        chosen.sort(key=lambda index: len(self._train[index].told.ids))
        order = list(range(WINDOW_BATCHES))
        source.shuffle(order)
        first = order[place] * size
        return [self._train[index] for index in chosen[first : first + size]]

    def _own_replies(self, episodes: Sequence[Episode]) -> dict[str, str]:
        """Have the base answer, greedily, the questions that have no answer."""
        asks = sorted({one.ask for episode in episodes for one in episode.questions if one.answer is None})
        replies: dict[str, str] = {}
        for start in range(0, len(asks), ASKED_TOGETHER):
            together = asks[start : start + ASKED_TOGETHER]
            prompts = [self._tokenizer.tokens_of((Message("user", ask),)).ids for ask in together]
            longest = max(map(len, prompts))
            filler = min(self._tokenizer.eos_ids)
            said = cast("Any", self._model).generate(
                torch.tensor([[filler] * (longest - len(ids)) + ids for ids in prompts]),
                attention_mask=torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts]),
                do_sample=False,
                max_new_tokens=OWN_REPLY_TOKENS_MAX,
                eos_token_id=sorted(self._tokenizer.eos_ids),
                pad_token_id=filler,
            )
            for ask, ids in zip(together, said[:, longest:].tolist(), strict=True):
                replies[ask] = self._tokenizer.text(ids).strip() or "I do not know."
            self._progress.doing("Asking the base", (start + len(together)) / len(asks))
        return replies


def _digest(episodes: Sequence[Episode]) -> str:
    digest = sha256()
    for episode in episodes:
        digest.update(episode.model_dump_json().encode())
    return digest.hexdigest()


def _schedule(step: int, options: TrainOptions) -> float:
    """Rise linearly, then fall as a cosine to a twentieth."""
    rising = min(1.0, (step + 1) / options.warm_up)
    falling = 0.5 * (1 + math.cos(math.pi * min(1.0, step / options.steps)))
    return rising * (0.05 + 0.95 * falling)
