"""What a module with gates learns besides descent through the base: its gates, its start, what it recalls."""

from collections.abc import Callable, Sequence
from functools import partial

from transformers import PreTrainedModel

from populace.adapters.memory.attached import AttachedMemory
from populace.adapters.memory.attention import AttentionLayer
from populace.adapters.memory.module import MemoryModule
from populace.engines.prompts import BaseTokenizer
from populace.learning.memory.encoding import Batch, EncodedEpisode, EncodedEpisodes
from populace.learning.memory.episodes import Episode
from populace.learning.memory.gate_fitting import fit_gates, nearest_to_opening
from populace.learning.memory.gated_start import start_gated
from populace.learning.memory.recall import HiddenInputs, answering_inputs
from populace.learning.memory.stored_inputs import (
    StoredInputs,
    StoredOptions,
    StoredScore,
    learn_from_stored,
    stored_inputs,
)

GATE_EPISODES = 3000
"""For gates more tell nothing new."""

NEAREST_REQUESTS = 256
"""So many general requests, those nearest to opening a read gate, are answered through an open one."""

AGAIN_EPISODES = 2400
AGAIN_STEP_SIZE = 0.003
"""Of the last learning from stored inputs, whose queries are nearly what they should be."""


class GatedLearning:
    """Trains a module in place. ``doing`` is told what is done, and which share of it."""

    def __init__(
        self,
        model: PreTrainedModel,
        attached: AttachedMemory,
        tokenizer: BaseTokenizer,
        memory: MemoryModule,
        doing: Callable[[str, float], None],
        *,
        batch: int,
        seed: int,
    ) -> None:
        self._model = model
        self._attached = attached
        self._tokenizer = tokenizer
        self._memory = memory
        self._doing = doing
        self._batch = batch
        self._seed = seed

    def fit_gates(self, episodes: Sequence[Episode]) -> None:
        """Fit both gates to what the episodes say of their messages. Raises as ``fit_gates`` does."""
        gates, some = self._memory.gates, episodes[:GATE_EPISODES]
        assert gates is not None
        progress = partial(self._doing, "Fitting the gates")
        fit_gates(self._model, self._tokenizer, self._first_layer, gates, some, progress=progress)

    def nearest(self, requests: Sequence[str]) -> list[str]:
        """Those of the requests that come nearest to opening the read gate."""
        gates = self._memory.gates
        assert gates is not None
        return nearest_to_opening(
            self._model, self._tokenizer, self._first_layer, gates, requests, NEAREST_REQUESTS
        )

    def start(
        self, train: EncodedEpisodes, validation: Sequence[EncodedEpisode], *, episodes: int, steps: int
    ) -> None:
        """Solve for what recalls, and let it learn from what the base alone computes of so many episodes."""
        stored, held_out = self._stored(_first(train, episodes)), self._stored(validation)
        solving = partial(self._doing, "Solving for keys and values")
        start_gated(self._model, self._memory, stored, seed=self._seed, progress=solving)
        self._learn(stored, held_out, StoredOptions(steps, seed=self._seed))

    def learn_again(
        self, train: EncodedEpisodes, validation: Sequence[EncodedEpisode], *, steps: int
    ) -> None:
        """Let what recalls learn from what the base computes of answers as the module makes them now."""
        ask = partial(answering_inputs, self._model, self._attached, self._memory)
        stored, held_out = self._stored(_first(train, AGAIN_EPISODES), ask), self._stored(validation, ask)
        self._learn(stored, held_out, StoredOptions(steps, step_size=AGAIN_STEP_SIZE, seed=self._seed))

    @property
    def _first_layer(self) -> AttentionLayer:
        return self._attached.layers[self._memory.shape.first_layer]

    def _stored(
        self,
        episodes: Sequence[EncodedEpisode],
        ask: Callable[[Batch, HiddenInputs], HiddenInputs] | None = None,
    ) -> list[StoredInputs]:
        progress = partial(self._doing, "Probing the base")
        return stored_inputs(
            self._model,
            self._attached.layers,
            self._memory.shape,
            episodes,
            batch=self._batch,
            progress=progress,
            ask=ask,
        )

    def _learn(
        self, train: Sequence[StoredInputs], held_out: Sequence[StoredInputs], options: StoredOptions
    ) -> None:
        learn_from_stored(self._model, self._memory, train, held_out, options, step=self._learned)

    def _learned(self, share: float, scored: StoredScore) -> None:
        self._doing(f"Learning to recall, {scored.right:.0%} of tokens right", share)


def _first(episodes: EncodedEpisodes, count: int) -> list[EncodedEpisode]:
    return [episodes[index] for index in range(min(count, len(episodes)))]
