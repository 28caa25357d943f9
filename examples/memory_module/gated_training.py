"""Trains a gated memory module: the base computes each episode once, and no gradient passes through it."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import psutil
import torch

from examples.memory_module.answer_learning import AnswerLearning, AnswerOptions, Scored
from examples.memory_module.encoding import EncodedEpisode, EpisodeEncoder
from examples.memory_module.episodes import Episode
from examples.memory_module.gate_fitting import fit_gates, nearest_to_opening
from examples.memory_module.gated_start import start_gated
from examples.memory_module.loaded_base import load_base, read_first
from examples.memory_module.own_replies import own_replies, requests_in
from examples.memory_module.probe import output_embeddings
from examples.memory_module.recall import Validation
from examples.memory_module.stored_inputs import WORDS_SHARE, StoredInputs, bytes_of, stored_inputs
from populace.actors.errors import InvalidRequest
from populace.adapters.memory.layer import MemoryShape
from populace.adapters.memory.module import STORED, MemoryModule
from populace.storage.records.files import write_durably

GATE_EPISODES = 3000
"""The gates are fitted on at most this many episodes; more do not improve them."""

NEAREST_REQUESTS = 256
"""The module is also trained to change nothing on this many general requests.

They are those with the highest logits of the read gate, for which it may open by mistake.
"""

PROBE_BATCH = 16
"""Number of episodes in a forward pass of the base."""


class GatedProgress(Protocol):
    """Callbacks that follow a training."""

    def doing(self, what: str, share: float) -> None:
        """Called during the phase ``what`` with the share of it that is done, 0 to 1."""
        ...

    def answered(self, step: int, scored: Scored) -> None:
        """Called after training step number ``step``, counted from 1."""
        ...

    def validated(self, validation: Validation, best: Validation) -> None:
        """Called after each validation; ``best`` is the best so far and may be the same."""
        ...


class GatedTrainer:
    """Trains a gated module: fits the gates, solves for the initial parameters, and trains on the answers.

    The same episodes and options give the same module on the same number of threads. With the default base it
    takes about 1 MB of memory for each episode.
    """

    def __init__(
        self,
        base_directory: Path,
        fingerprint: str,
        train: Sequence[Episode],
        validation: Sequence[Episode],
        shape: MemoryShape,
        options: AnswerOptions,
        progress: GatedProgress,
        *,
        first: Path | None = None,
        threads: int | None = None,
    ) -> None:
        """Load the base.

        With ``first``, the training continues from that module: gates and initial parameters are kept. With
        ``threads`` None it runs on every core. Raises ``InvalidRequest`` for a base that cannot have a
        memory, a first module of another shape, and episodes without a question for a value.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        self._train, self._held_out = _asking(train, "episodes"), _asking(validation, "held_out")
        self._base = base = load_base(base_directory, fingerprint)
        self._options = options
        self._progress = progress
        self._goes_on = first is not None
        self.memory = MemoryModule(shape, tuple(layer.widths for layer in base.attention), fingerprint)
        if first is not None:
            self.memory = read_first(first, base, shape)
        self.best: Validation | None = None

    def run(self, *, keep: Path | None = None) -> Validation:
        """Train to the end, set ``memory`` to the module that validated best, and return its validation.

        Each time a module is better than all before, it is written to the file ``keep``. Raises
        ``InvalidRequest`` for episodes that lack what the gates or the initial parameters need, or that do
        not fit into memory.
        """
        memory, base = self.memory, self._base
        assert memory.gates is not None, "the shape must be gated"
        first_layer = base.attention[memory.shape.first_layer]
        if not self._goes_on:
            fitting = partial(self._progress.doing, "Fitting the gates")
            fitted = self._train[:GATE_EPISODES]
            fit_gates(base.model, base.tokenizer, first_layer, memory.gates, fitted, progress=fitting)
        requests = requests_in([*self._train, *self._held_out])
        nearest = nearest_to_opening(
            base.model, base.tokenizer, first_layer, memory.gates, requests, NEAREST_REQUESTS
        )
        asking = partial(self._progress.doing, "Asking the base")
        encoder = EpisodeEncoder(
            base.tokenizer, own_replies(base.model, base.tokenizer, nearest, progress=asking), gated=True
        )
        train = self._stored(encoder, self._train)
        held_out = self._stored(encoder, self._held_out, words_share=1.0)
        if not self._goes_on:
            solving = partial(self._progress.doing, "Solving for keys and values")
            start_gated(base.model, memory, train, seed=self._options.seed, progress=solving)
        learning = AnswerLearning(memory, output_embeddings(base.model), self._options)
        kept = memory.pack(STORED)

        def validate(step: int) -> None:
            nonlocal kept
            validation = learning.validated(step, held_out)
            if self.best is None or validation.loss < self.best.loss:
                self.best, kept = validation, memory.pack(STORED)
                if keep is not None:
                    write_durably(keep, kept)
            self._progress.validated(validation, self.best)

        learning.run(train, stepped=self._progress.answered, validate=validate)
        self.memory = MemoryModule.unpack(kept, base.fingerprint, base.attention)
        assert self.best is not None, "the last step is validated"
        return self.best

    def _stored(
        self, encoder: EpisodeEncoder, episodes: Sequence[Episode], *, words_share: float = WORDS_SHARE
    ) -> list[StoredInputs]:
        base = self._base
        encoded: list[EncodedEpisode] = []
        for episode in episodes:
            encoded.append(encoder.encode(episode))
            self._progress.doing("Reading episodes", len(encoded) / len(episodes))
        needed, free = bytes_of(encoded, self.memory.shape, base.attention), psutil.virtual_memory().available
        if needed > free:
            raise InvalidRequest(
                f"Training on {len(encoded)} episodes takes about {needed / 1e9:.0f} GB of memory, and "
                f"{free / 1e9:.0f} GB are free: make fewer (corpus --episodes).",
                "episodes",
            )
        return stored_inputs(
            base.model,
            base.attention,
            self.memory.shape,
            encoded,
            batch=PROBE_BATCH,
            progress=partial(self._progress.doing, "Probing the base"),
            seed=self._options.seed,
            words_share=words_share,
        )


def _asking(episodes: Sequence[Episode], name: str) -> list[Episode]:
    """Return the episodes with a question that the base alone cannot answer."""
    if not any(question.value for episode in episodes for question in episode.questions):
        raise InvalidRequest("No episode has a question for a value that was told.", name)
    return [
        episode for episode in episodes if any(question.answer is not None for question in episode.questions)
    ]
