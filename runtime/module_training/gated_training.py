"""Training a memory module with gates: nothing passes through the base, which computes each episode once."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import psutil
import torch

from populace.actors.errors import InvalidRequest
from populace.adapters.memory.layer import MemoryShape
from populace.adapters.memory.module import STORED, MemoryModule
from populace.module_training.answer_learning import AnswerLearning, AnswerOptions, Scored
from populace.module_training.encoding import EncodedEpisode, EpisodeEncoder
from populace.module_training.episodes import Episode
from populace.module_training.gate_fitting import fit_gates, nearest_to_opening
from populace.module_training.gated_start import start_gated
from populace.module_training.loaded_base import load_base, read_first
from populace.module_training.own_replies import own_replies, requests_in
from populace.module_training.probe import output_embeddings
from populace.module_training.recall import Validation
from populace.module_training.stored_inputs import WORDS_SHARE, StoredInputs, bytes_of, stored_inputs
from populace.storage.records.files import write_durably

GATE_EPISODES = 3000
"""For gates more tell nothing new."""

NEAREST_REQUESTS = 256
"""So many general requests, those nearest to opening a read gate, are answered through an open one."""

PROBED_TOGETHER = 16


class GatedProgress(Protocol):
    """Who is told how far training is: ``doing`` what, and which share of it."""

    def doing(self, what: str, share: float) -> None: ...

    def answered(self, step: int, scored: Scored) -> None: ...

    def validated(self, validation: Validation, best: Validation) -> None: ...


class GatedTrainer:
    """Trains a module from episodes: gates, start, what it recalls and what it answers.

    The same episodes and options give the same module, on the same number of threads. Takes about a
    megabyte of memory for each episode of the default base.
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
        """Load the base. ``first`` trains that module on: its gates stay, and its start is not solved for.

        ``threads`` None computes on every core. Raises ``InvalidRequest`` for a base that cannot have a
        memory, for a first module of another shape, and for episodes that ask for no value.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        self._train, self._held_out = _asking(train, "episodes"), _asking(validation, "held_out")
        self._base = base = load_base(base_directory, fingerprint)
        self._options = options
        self._progress = progress
        self._goes_on = first is not None
        self.memory = MemoryModule(shape, tuple(one.widths for one in base.attention), fingerprint)
        if first is not None:
            self.memory = read_first(first, base, shape)
        self.best: Validation | None = None

    def run(self, *, keep: Path | None = None) -> Validation:
        """Train to the end and return the best validation; ``memory`` is that module then.

        Whenever one is better than all before, the module is written to ``keep``. Raises
        ``InvalidRequest`` for episodes that a gate or a start cannot be made of.
        """
        memory, base = self.memory, self._base
        assert memory.gates is not None, "the shape is a gated one"
        first_layer = base.attention[memory.shape.first_layer]
        if not self._goes_on:
            fitting = partial(self._progress.doing, "Fitting the gates")
            some = self._train[:GATE_EPISODES]
            fit_gates(base.model, base.tokenizer, first_layer, memory.gates, some, progress=fitting)
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
        assert self.best is not None, "it was validated in the end"
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
                f"{len(encoded)} episodes take about {needed / 1e9:.0f} GB of memory to learn from, and "
                f"{free / 1e9:.0f} GB are free: take fewer (populace memory corpus --episodes).",
                "episodes",
            )
        return stored_inputs(
            base.model,
            base.attention,
            self.memory.shape,
            encoded,
            batch=PROBED_TOGETHER,
            progress=partial(self._progress.doing, "Probing the base"),
            seed=self._options.seed,
            words_share=words_share,
        )


def _asking(episodes: Sequence[Episode], name: str) -> list[Episode]:
    """Those with a question that the base alone cannot answer."""
    if not any(asked.value for one in episodes for asked in one.questions):
        raise InvalidRequest("No episode has a question for a value that was told.", name)
    return [one for one in episodes if any(asked.answer is not None for asked in one.questions)]
