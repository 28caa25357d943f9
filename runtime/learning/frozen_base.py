# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# transformers' loading and forward functions are untyped.
"""The frozen base in training: one forward pass scores sequences for the adapters of many personal models.

Sequences are packed into one row, and each attends to itself alone.
Everything else in a transformer works token by token, so only attention needs a padded batch. The padding is
on the right, where causal attention does not look. Sequences may share tokens of the row at their beginning.

Shape suffixes: B = sequences, H = heads, N = tokens of the row, T = tokens of the longest sequence, D = head
width.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

import torch
from torch.nn import functional
from transformers import AttentionInterface, AutoModelForCausalLM, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

from populace.adapters.base_modules import BaseModules, read_base_modules
from populace.adapters.lora.attached import AttachedAdapters
from populace.adapters.lora.trainable import TrainableAdapter
from populace.adapters.memory.attached import given_hidden
from populace.learning.methods.objective import Scored, TrainSequence
from populace.learning.packed_row import PackedRow, Reading
from populace.learning.wanted_work import check_wanted

PACKED = "populace_packed"
"""The ``attn_implementation`` of transformers that selects it; the model is then called with ``packing``."""


STRETCH_MAX = 1.25
"""The longest sequence of a padded batch has at most this many times the tokens of its shortest one.

A step has many short replies and a few whole ones; in one batch these made attention a third of its time.
"""


class Packing(NamedTuple):
    """Indices between a row and the padded batches that attention works on, of sequences of like lengths.

    ``batches`` are [B, T] from each batch into the row, ``kept`` is [N] from the row into all batches, one
    after the other.
    """

    batches: Sequence[torch.Tensor]
    kept: torch.Tensor

    @classmethod
    def of(cls, paths: Sequence[Sequence[int]], tokens: int, device: torch.device) -> Self:
        """Map a row of ``tokens`` to padded batches and back.

        ``paths`` has the places in the row of each sequence's tokens, and each place is in one of them at
        least. Padding repeats the last token of a sequence and is never read.
        """
        batches: list[torch.Tensor] = []
        kept, begin = [0] * tokens, 0
        for batch in _alike(paths):
            longest = len(batch[-1])
            padded = [[*path, *repeat(path[-1], longest - len(path))] for path in batch]
            batches.append(torch.tensor(padded, device=device))
            for path in batch:
                # A shared token comes out alike of all sequences that have it.
                for at, place in enumerate(path):
                    kept[place] = begin + at
                begin += longest
        return cls(batches, torch.tensor(kept, device=device))


def _alike(paths: Sequence[Sequence[int]]) -> list[list[Sequence[int]]]:
    """Group the paths by their lengths; the groups and the paths of each are in the order of lengths."""
    groups: list[list[Sequence[int]]] = []
    for path in sorted(paths, key=len):
        if groups and len(path) <= STRETCH_MAX * len(groups[-1][0]):
            groups[-1].append(path)
        else:
            groups.append([path])
    return groups


def packed_attention(
    module: torch.nn.Module,
    query_1HND: torch.Tensor,
    key_1HND: torch.Tensor,
    value_1HND: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    packing: Packing,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Return the attention output [1, N, H, D] and no weights, as transformers expects it.

    With a ``sliding_window`` a token sees that many tokens, of which it is the last. Masks, dropout and
    capped scores are not supported.
    """
    assert attention_mask is None
    assert dropout == 0
    assert softcap is None
    # In float32 from here on: the gradient of a token that many sequences share is a sum, which bfloat16
    # would round at each of them.
    rows_NHD = [row[0].transpose(0, 1).float() for row in (query_1HND, key_1HND, value_1HND)]
    # On the CPU torch's kernel takes 2.2 times as long in bfloat16, mostly in the backward pass.
    kernel_dtype = torch.float32 if query_1HND.device.type == "cpu" else query_1HND.dtype
    mixed: list[torch.Tensor] = []
    for places_BT in packing.batches:
        query_BHTD, key_BHTD, value_BHTD = (
            row_NHD.index_select(0, places_BT.flatten())
            .unflatten(0, places_BT.shape)
            .transpose(1, 2)
            .to(kernel_dtype)
            for row_NHD in rows_NHD
        )
        seen_TT = _window(places_BT, sliding_window)
        mixed_BHTD = functional.scaled_dot_product_attention(
            query_BHTD,
            key_BHTD,
            value_BHTD,
            attn_mask=seen_TT,
            is_causal=seen_TT is None,
            scale=scaling,
            enable_gqa=query_1HND.shape[1] != key_1HND.shape[1],
        )
        mixed.append(mixed_BHTD.transpose(1, 2).flatten(0, 1))
    # One gather, as the gradient of a slice for each sequence would be as large as the whole batch.
    return torch.cat(mixed).index_select(0, packing.kept)[None].to(query_1HND.dtype), None


def _window(places_BT: torch.Tensor, size: int | None) -> torch.Tensor | None:
    """Return which tokens [T, T] each token sees, None if that is all before it."""
    tokens = places_BT.shape[1]
    if size is None or size >= tokens:
        return None
    before_TT = torch.ones(tokens, tokens, dtype=torch.bool, device=places_BT.device).tril()
    return before_TT.triu(1 - size)


AttentionInterface.register(PACKED, packed_attention)


class Read(NamedTuple):
    """What a sequence's pass left: the last layer's outputs [N, H] from which its N scored tokens are
    predicted, and the inputs [T, H] of each recorded layer for all its tokens.
    """

    last: torch.Tensor
    hidden: tuple[torch.Tensor, ...]


class FrozenBase:
    """A loaded base with frozen weights. Not thread-safe.

    The backward pass of a scoring may run before or after the next scoring.
    """

    def __init__(
        self, directory: Path, fingerprint: str, *, dtype: torch.dtype = torch.bfloat16, device: str = "cpu"
    ) -> None:
        self.modules: BaseModules = read_base_modules(directory, fingerprint)
        self.fingerprint = fingerprint
        self.dtype = dtype
        loaded = AutoModelForCausalLM.from_pretrained(
            str(directory), dtype=dtype, local_files_only=True, attn_implementation=PACKED
        )
        self.model = cast("PreTrainedModel", cast("Any", loaded).to(device).eval())
        self.model.requires_grad_(False)
        self.context_tokens = int(cast("Any", self.model.config).max_position_embeddings)
        self._attached = AttachedAdapters(self.model, list(self.modules.linears))
        self._recorded: list[torch.Tensor] = []
        self._recorders: list[Any] = []

    @property
    def device(self) -> torch.device:
        """Where the weights are, and what is trained on them has to be."""
        return self.model.device

    def record_inputs(self, layers: Sequence[str]) -> None:
        """Keep the inputs of these attention layers, in the order of the base, in each later pass."""
        for hook in self._recorders:
            hook.remove()
        self._recorders = [
            self.model.get_submodule(name).register_forward_pre_hook(self._record, with_kwargs=True)
            for name in layers
        ]

    def _record(self, _: torch.nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        self._recorded.append(given_hidden(args, options)[0])

    def read(self, adapter: TrainableAdapter | None, sequence: TrainSequence) -> "Read":
        """Read a sequence without predicting anything, and without gradients."""
        row = PackedRow.of([Reading(adapter, [sequence])])
        with torch.no_grad(), self._recording() as recorded, self._attached.running(row.spans):
            output = cast("Any", self.model.base_model)(**self._inputs(row))
        places = torch.tensor(row.places, dtype=torch.long, device=self.device)
        return Read(output.last_hidden_state[0][places], tuple(recorded))

    def predict(self, last_NH: torch.Tensor) -> torch.Tensor:
        """Return the log-probabilities [N, V] of the next tokens that follow from ``Read.last``."""
        with torch.no_grad():
            return self.predicted(last_NH)

    def predicted(self, last_NH: torch.Tensor) -> torch.Tensor:
        """Return the log-probabilities [N, V], differentiable in the last layer's outputs [N, H]."""

        def given(**_: Any) -> BaseModelOutputWithPast:
            return BaseModelOutputWithPast(last_hidden_state=cast("Any", last_NH[None]))

        inner = cast("Any", self.model.base_model)
        # What a model makes of its head's products (scales, caps) is in its own forward function alone.
        inner.forward = given
        try:
            ids = torch.zeros(1, len(last_NH), dtype=torch.long, device=self.device)
            output = cast("Any", self.model)(input_ids=ids, use_cache=False)
        finally:
            del inner.forward
        return cast("torch.Tensor", output.logits)[0].float().log_softmax(-1)

    @contextmanager
    def _recording(self) -> Generator[list[torch.Tensor]]:
        """Yield the list of what the block's pass records; a pass that fails leaves nothing behind."""
        recorded = self._recorded = []
        try:
            yield recorded
        finally:
            self._recorded = []

    def score(self, readings: Sequence[Reading]) -> list[Scored]:
        """Score all sequences in one forward pass and return one ``Scored`` for each reading, in order.

        The results are differentiable in the adapters' parameters unless autograd is off. Every reading must
        have a scored token. Time and memory grow linearly with the number of tokens, of which those that
        sequences of one reading begin with alike count once. Raises ``TrainingStopped`` as ``check_wanted``.
        """
        check_wanted()
        row, device = PackedRow.of(readings), self.device
        places = torch.tensor(row.places, device=device)
        lasts: list[torch.Tensor] = []

        def note(_: torch.nn.Module, __: object, output: Any) -> None:
            lasts.append(output.last_hidden_state[0].index_select(0, places))

        noted = cast("Any", self.model.base_model).register_forward_hook(note)
        try:
            with self._recording() as recorded, self._attached.running(row.spans):
                output = cast("Any", self.model)(**self._inputs(row), logits_to_keep=places)
        finally:
            noted.remove()
        log_probs_NV = cast("torch.Tensor", output.logits)[0].float().log_softmax(-1)
        scored = [sum(count) for count in row.counts]
        targets = torch.tensor(row.targets, device=device).split(scored)
        # In float32, as the gradient of a token that many sequences share is a sum.
        layers = [layer_TH.float() for layer_TH in recorded]
        hidden = self._of_sequences(layers, row)
        last = lasts[0].split(scored)
        inputs = list(zip(*(layer.index_select(0, places).split(scored) for layer in layers), strict=True))
        return [
            Scored(*of_reading)
            for of_reading in zip(
                log_probs_NV.split(scored),
                targets,
                row.counts,
                hidden,
                last,
                inputs or [()] * len(scored),
                strict=True,
            )
        ]

    def _inputs(self, row: PackedRow) -> dict[str, Any]:
        """Return the arguments of the model's forward pass."""
        device = self.device
        return {
            "input_ids": torch.tensor([row.ids], device=device),
            "position_ids": torch.tensor([row.positions], device=device),
            "packing": Packing.of(row.paths, len(row.ids), device),
            "use_cache": False,
        }

    def _of_sequences(
        self, recorded: Sequence[torch.Tensor], row: PackedRow
    ) -> list[tuple[torch.Tensor, ...]]:
        """Return what was recorded of the tokens of each reading's sequences, one after the other."""
        if not recorded:
            return [()] * len(row.spans)
        places = torch.tensor(list(chain.from_iterable(row.paths)), device=self.device)
        read = [sum(lengths) for lengths in row.lengths]
        layers = [layer_TH.index_select(0, places).split(read) for layer_TH in recorded]
        return list(zip(*layers, strict=True))
