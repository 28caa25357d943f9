# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch.optim and transformers' loading functions are partly untyped.
"""Trains a memory module without gates on episodes, by the cross-entropy of the answers through the base."""

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Literal, Protocol

import torch

from examples.memory_module.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from examples.memory_module.encoding import (
    EncodedEpisode,
    EncodedEpisodes,
    EpisodeEncoder,
    batch_of,
)
from examples.memory_module.episodes import Episode
from examples.memory_module.loaded_base import load_base, read_first
from examples.memory_module.own_replies import own_replies, requests_in
from examples.memory_module.recall import Recall, Validation, recall
from examples.memory_module.start import start_by_probe
from populace.actors.errors import InvalidRequest
from populace.adapters.memory.attached import AttachedMemory
from populace.adapters.memory.initial import initial_module
from populace.adapters.memory.layer import MemoryShape
from populace.adapters.memory.module import STORED
from populace.storage.records.files import write_durably

WINDOW_BATCHES = 4
"""This many batches are drawn together and sorted by length, so that each needs less padding."""


Start = Literal["probe", "published"]
"""How the initial parameters are made: solved for by ``start.py``, or drawn as in the published code."""


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """Options of ``MemoryTrainer``; the same options, episodes and number of threads give the same module.

    ``batch`` is in episodes. ``step_size`` is relative to the root mean square of each parameter tensor
    before training, rises over ``warm_up`` steps and decays as a cosine. ``sparsity`` is the coefficient of
    the squared distance of the mean write rate from ``sparsity_rate``. Training ends after ``steps``, or
    after ``patience`` validations in a row that did not improve on the best. ``start`` "probe" applies only
    to modules with one state for each layer that write tokens; others begin with "published". It uses
    ``probe_batches`` batches.
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


class TrainProgress(Protocol):
    """Callbacks that follow a training."""

    def doing(self, what: str, share: float) -> None:
        """Called during the phase ``what`` with the share of it that is done, 0 to 1."""
        ...

    def stepped(self, step: int, scored: Recall) -> None:
        """Called after training step number ``step``, counted from 1."""
        ...

    def validated(self, validation: Validation, best: Validation) -> None:
        """Called after each validation; ``best`` is the best so far and may be the same."""
        ...


class MemoryTrainer:
    """One training session. If it is restored from what ``save`` wrote, it continues to the same bits."""

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
        """Load the base, generate its own replies, and make the initial module.

        With ``first`` the training begins with that module; with ``checkpoint`` it continues a stopped
        session. With ``threads`` None it runs on every core. Raises ``InvalidRequest`` for a base that cannot
        have a memory, a first module of another shape, and a checkpoint that is damaged or of another
        session.
        """
        assert not shape.gated, "gated modules are trained by gated_training"
        if threads is not None:
            torch.set_num_threads(threads)
        self._options = options
        self._progress = progress
        base = load_base(base_directory, fingerprint)
        self._model, attention, tokenizer, _ = base
        self.memory = initial_module(self._model, attention, fingerprint, shape, seed=options.seed)
        self._attached = AttachedMemory(self._model, self.memory, attention)
        if first is not None:
            self.memory.load_state_dict(read_first(first, base, shape).state_dict())
        self._session = {
            "base": fingerprint,
            "shape": asdict(shape),
            "options": asdict(options),
            "episodes": [_digest(train), _digest(validation)],
        }
        kept = None if checkpoint is None else self._checked(checkpoint)
        if kept is not None:
            self.memory.load_state_dict(dict(kept.memory))
        probes = options.start == "probe" and kept is None and first is None
        asking = partial(progress.doing, "Asking the base")
        requests = requests_in([*train, *validation])
        encoder = EpisodeEncoder(tokenizer, own_replies(self._model, tokenizer, requests, progress=asking))
        self._train = EncodedEpisodes(encoder, train)
        self._validation = [encoder.encode(episode) for episode in validation]
        self._step = 0
        self._best: Validation | None = None
        self._worse = 0
        if probes and shape.states == 1 and shape.writes == "token":
            batches = [self._episodes(step) for step in range(options.probe_batches)]
            start_by_probe(
                self._model,
                self._attached,
                self.memory,
                attention,
                batches,
                seed=options.seed,
                progress=progress.doing,
            )
        self._best_parameters = self._parameters()
        self._optimizer = self._new_optimizer()
        if kept is not None:
            self._restore(kept)

    @property
    def best(self) -> tuple[dict[str, torch.Tensor], Validation | None]:
        """The parameters that validated best, and their validation, None before the first one."""
        return self._best_parameters, self._best

    def run(self, checkpoint: Path | None = None, *, keep: Path | None = None) -> Validation:
        """Train to the end and return the best validation.

        Each validation writes the file ``checkpoint``; one that is the best so far writes the module to the
        file ``keep``.
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
        """Replace the file atomically by a checkpoint with parameters, moments, step and best module."""
        fields = {
            "session": self._session,
            "step": self._step,
            "worse": self._worse,
            "best": self._best,
            "sizes": [group["size"] for group in self._optimizer.param_groups],
        }
        moments = self._optimizer.state_dict()["state"]
        write_checkpoint(path, Checkpoint(fields, self.memory.state_dict(), self._best_parameters, moments))

    def _checked(self, path: Path) -> Checkpoint:
        """Read a checkpoint with the same base, shape, options and episodes.

        Raises ``InvalidRequest`` for any other file.
        """
        kept = read_checkpoint(path)
        session = kept.fields.get("session", {})
        if session != self._session:
            other = [name for name in self._session if session.get(name) != self._session[name]]
            raise InvalidRequest(
                f"{path} was made with other {' and '.join(other)}: {[session.get(name) for name in other]}.",
                "resume",
            )
        return kept

    def _restore(self, kept: Checkpoint) -> None:
        groups = self._optimizer.state_dict()["param_groups"]
        for group, size in zip(groups, kept.fields["sizes"], strict=True):
            group["size"] = size
        self._optimizer.load_state_dict({"state": dict(kept.optimizer), "param_groups": groups})
        self._step, self._worse = kept.fields["step"], kept.fields["worse"]
        self._best = None if kept.fields["best"] is None else Validation(*kept.fields["best"])
        self._best_parameters = dict(kept.best)

    def _parameters(self) -> dict[str, torch.Tensor]:
        return {name: tensor.clone() for name, tensor in self.memory.state_dict().items()}

    def _take_step(self) -> Recall:
        options = self._options
        for group in self._optimizer.param_groups:
            group["lr"] = group["size"] * options.step_size * _schedule(self._step, options)
        batch = batch_of(self._episodes(self._step))
        scored = recall(self._model, self._attached, self.memory, batch)
        loss = scored.loss
        if options.sparsity:
            loss = loss + options.sparsity * ((scored.rate - options.sparsity_rate) ** 2).mean()
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.memory.parameters(), 1.0)
        self._optimizer.step()
        return scored

    def _validate(self, keep: Path | None) -> None:
        validation = self._validation_now()
        if self._best is None or validation.loss < self._best.loss:
            self._best, self._best_parameters, self._worse = validation, self._parameters(), 0
            if keep is not None:
                write_durably(keep, self.memory.pack(STORED))
        else:
            self._worse += 1
        self._progress.validated(validation, self._best or validation)

    @torch.no_grad()
    def _validation_now(self) -> Validation:
        batches: list[Recall] = []
        size = self._options.batch
        for start in range(0, len(self._validation), size):
            batch = batch_of(self._validation[start : start + size])
            batches.append(recall(self._model, self._attached, self.memory, batch))
            self._progress.doing("Validating", min(1.0, (start + size) / len(self._validation)))
        count = len(batches)
        return Validation(
            self._step,
            float(sum(scored.loss for scored in batches) / count),
            float(sum(scored.value_loss for scored in batches) / count),
            float(torch.cat([scored.exact for scored in batches]).float().mean()),
        )

    def _new_optimizer(self) -> torch.optim.AdamW:
        groups = [
            {"params": [parameter], "size": max(float(parameter.detach().square().mean().sqrt()), 1e-3)}
            for parameter in self.memory.parameters()
        ]
        return torch.optim.AdamW(groups, lr=0.0, weight_decay=0.0, betas=(0.9, 0.99))

    def _episodes(self, step: int) -> list[EncodedEpisode]:
        """Return the batch of a step, which depends on the seed and step alone and so survives a resume."""
        size = self._options.batch
        window, place = divmod(step, WINDOW_BATCHES)
        source = random.Random(f"batches {self._options.seed} {window}")
        chosen = [source.randrange(len(self._train)) for _ in range(WINDOW_BATCHES * size)]
        chosen.sort(key=lambda index: len(self._train[index].told.ids))
        order = list(range(WINDOW_BATCHES))
        source.shuffle(order)
        first = order[place] * size
        return [self._train[index] for index in chosen[first : first + size]]


def _digest(episodes: Sequence[Episode]) -> str:
    digest = sha256()
    for episode in episodes:
        digest.update(episode.model_dump_json().encode())
    return digest.hexdigest()


def _schedule(step: int, options: TrainOptions) -> float:
    """Return the factor of the step size: linear warm-up, then cosine decay to 1/20."""
    rising = min(1.0, (step + 1) / options.warm_up)
    falling = 0.5 * (1 + math.cos(math.pi * min(1.0, step / options.steps)))
    return rising * (0.05 + 0.95 * falling)
