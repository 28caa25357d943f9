"""An adapter as trainable parameters, which can be packed into a revision and read from one."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import PreTrainedModel

from populace.actors.training_options import Start
from populace.adapters.base_modules import BaseModules
from populace.adapters.lora.concatenation import Concatenation
from populace.adapters.lora.initial import initial_factors
from populace.adapters.lora.layer import Kept, LoraLayer
from populace.adapters.lora.shape import LoraShape, targets_of
from populace.adapters.packing import check_packed_adapter, read_adapter
from populace.adapters.peft_config import write_peft_config
from populace.adapters.serving_image import NAMES, TYPES, matrix_bytes
from populace.storage.packed.adapter import PackedAdapter, pack_adapter
from populace.storage.packed.layout import Factor, Side

Factors = Mapping[str, tuple[torch.Tensor, torch.Tensor]]
"""The factors A and B of each layer, by its name."""


class TrainableAdapter(torch.nn.Module):
    """The layers of one adapter by their dotted names in the base; ranks and scalings may differ.

    ``lower`` is the digest of the revision whose factors the layers keep, None if they keep none.
    ``concatenation`` says how an adapter that was read can be split, None if it cannot.
    """

    def __init__(
        self,
        layers: Mapping[str, LoraLayer],
        lower: str | None = None,
        concatenation: Concatenation | None = None,
    ) -> None:
        super().__init__()
        self.layers = dict(layers)
        self.lower = lower
        self.concatenation = concatenation
        # torch does not allow dots in the name of a submodule.
        for name, layer in layers.items():
            self.add_module(name.replace(".", "/"), layer)

    @classmethod
    def begin(
        cls, model: PreTrainedModel, base: BaseModules, shape: LoraShape, start: Start, *, seed: int
    ) -> "TrainableAdapter":
        """Make an untrained adapter on the model's device: its ΔW is 0, its factors those of ``start``.

        Raises ``InvalidRequest`` for a shape that the base cannot have.
        """
        generator = torch.Generator().manual_seed(seed)
        layers: dict[str, LoraLayer] = {}
        for name in shape.modules_of(base):
            weight = model.get_submodule(name).get_parameter("weight")
            factors = initial_factors(weight, shape.rank, shape.scaling, start, generator)
            layers[name] = LoraLayer(
                factors.a,
                factors.b,
                alpha=shape.alpha,
                rank_scaled=True,
                offset=(factors.a.clone(), factors.b.clone()) if factors.is_offset else None,
            )
        return cls(layers)

    @classmethod
    def of_revision(
        cls, path: Path, base: BaseModules, *, rank_max: int, digest: str | None = None
    ) -> "TrainableAdapter":
        """Read an adapter from a packed file or PEFT directory, with the checks of ``read_adapter``."""
        return cls._unpacked(read_adapter(path, base, rank_max=rank_max, digest=digest), base)

    @classmethod
    def of_packed(cls, data: bytes | bytearray, base: BaseModules, *, rank_max: int) -> "TrainableAdapter":
        """Read a packed adapter in memory. Raises as ``PackedAdapter`` and ``check_packed_adapter`` do."""
        packed = PackedAdapter(memoryview(data))
        check_packed_adapter(packed, base, rank_max=rank_max)
        return cls._unpacked(packed, base)

    @classmethod
    def _unpacked(cls, packed: PackedAdapter, base: BaseModules) -> "TrainableAdapter":
        sides: dict[str, dict[Side, torch.Tensor]] = {}
        alphas: dict[str, float] = {}
        for factor, data in packed.factors():
            matrix = torch.frombuffer(bytearray(data), dtype=TYPES[factor.dtype]).reshape(factor.shape)
            sides.setdefault(factor.module, {})[factor.side] = matrix.float()
            alphas[factor.module] = factor.alpha
        layers = {
            # B is packed transposed.
            name: LoraLayer(
                sides[name]["A"],
                sides[name]["B"].T.contiguous(),
                alpha=alphas[name],
                rank_scaled=packed.rank_scaled,
            )
            for name in base.linears
            if name in sides
        }
        ranks = {name: layer.rank for name, layer in layers.items()}
        return cls(layers, concatenation=Concatenation.of_metadata(packed.metadata, ranks))

    @property
    def merged_rank(self) -> int:
        """The largest rank of any layer as it is served."""
        return max(layer.merged_rank for layer in self.layers.values())

    def on(self, lower: "TrainableAdapter", digest: str) -> "TrainableAdapter":
        """Return an adapter that keeps the factors of ``lower``, the revision of this digest, below its own.

        A layer that only ``lower`` adapts gets rank 0. The parameters are shared with this adapter.
        """
        below = {name: layer.merged() for name, layer in lower.layers.items()}
        layers: dict[str, LoraLayer] = {}
        for name, under in below.items():
            kept = Kept(under.a.detach(), under.b.detach(), under.scaling)
            own = self.layers.get(name)
            if own is None:
                nothing = under.a.new_zeros(0, under.a.shape[1]), under.b.new_zeros(under.b.shape[0], 0)
                layers[name] = LoraLayer(*nothing, alpha=1.0, rank_scaled=self.rank_scaled, kept=kept)
            else:
                layers[name] = LoraLayer(
                    own.a, own.b, alpha=own.alpha, rank_scaled=own.rank_scaled, offset=own.offset, kept=kept
                )
        return TrainableAdapter({**self.layers, **layers}, lower=digest)

    def personal_part(self) -> "TrainableAdapter":
        """Return a copy of what was trained on the lower revision, without that; for a ``concatenation``."""
        assert self.concatenation is not None
        parts = self.concatenation.parts
        split = {name: layer.split(*parts[name]) for name, layer in self.layers.items()}
        return TrainableAdapter({name: layer for name, layer in split.items() if layer.rank})

    @property
    def rank_scaled(self) -> bool:
        """How alpha is meant, which is the same in all layers."""
        return next(iter(self.layers.values())).rank_scaled

    @torch.no_grad()
    def with_share(self, share: float) -> "TrainableAdapter":
        """Return a copy whose scaling is multiplied by ``share``; kept factors count in full."""
        layers: dict[str, LoraLayer] = {}
        for name, layer in self.layers.items():
            offset = None if layer.offset is None else (layer.offset[0], layer.offset[1] * share)
            layers[name] = LoraLayer(
                layer.a.clone(),
                layer.b * share,
                alpha=layer.alpha,
                rank_scaled=layer.rank_scaled,
                offset=offset,
                kept=layer.kept,
            )
        return TrainableAdapter(layers, self.lower)

    def merged(self) -> "TrainableAdapter":
        """Return the adapter as it is served: the same ΔW in one pair of factors for each layer."""
        merged = {name: layer.merged() for name, layer in self.layers.items()}
        if self.lower is None:
            return TrainableAdapter(merged, concatenation=self.concatenation)
        return TrainableAdapter(merged, concatenation=Concatenation.of_layers(self.lower, self.layers))

    def factors(self) -> Factors:
        """Return copies of the factors A and B of each layer, by its name."""
        return {
            name: (layer.a.detach().clone(), layer.b.detach().clone()) for name, layer in self.layers.items()
        }

    @torch.no_grad()
    def set_between(
        self,
        before: Factors | None,
        after: Factors,
        share: float,
    ) -> None:
        """Set the factors to ``before`` + ``share`` · (``after`` − ``before``).

        Without ``before`` the adapter began from the base: ``before`` are its offsets, or B = 0, with which
        the change ΔW is scaled by ``share`` exactly.
        """
        for name, layer in self.layers.items():
            a, b = after[name]
            begun = (a, torch.zeros_like(b)) if layer.offset is None else layer.offset
            a_before, b_before = begun if before is None else before[name]
            layer.a.copy_(torch.lerp(a_before, a, share))
            layer.b.copy_(torch.lerp(b_before, b, share))

    def pack(self, fingerprint: str, dtype: torch.dtype) -> bytearray:
        """Pack the adapter as a revision, rounded to ``dtype``; in the base's type it is served as it is.

        With kept factors the metadata says how the adapter is split again, see ``concatenation.py``.
        """
        whole = self.merged()
        merged = whole.layers
        factors: list[Factor] = []
        matrices: dict[tuple[str, Side], memoryview] = {}
        for name, layer in merged.items():
            sides: tuple[tuple[Side, torch.Tensor], ...] = (("A", layer.a), ("B", layer.b.T))
            for side, matrix in sides:
                shape = (layer.rank, matrix.shape[1])
                factors.append(Factor(name, side, shape, NAMES[dtype], layer.alpha))
                matrices[name, side] = matrix_bytes(matrix.detach().to("cpu", dtype))
        told = {} if whole.concatenation is None else whole.concatenation.metadata()
        return pack_adapter(
            matrices,
            factors,
            base=fingerprint,
            config=_peft_config(merged),
            rank_scaled=whole.rank_scaled,
            metadata=_METADATA | told,
        )


_METADATA = {"format": "pt"}
"""PEFT writes this metadata into a tensor file, and transformers requires it."""


def _peft_config(layers: Mapping[str, LoraLayer]) -> bytes:
    """Encode ``adapter_config.json`` with the commonest rank and alpha, and patterns for the other layers."""
    rank = Counter(layer.rank for layer in layers.values()).most_common(1)[0][0]
    alpha = Counter(layer.alpha for layer in layers.values()).most_common(1)[0][0]
    return write_peft_config(
        rank,
        alpha,
        targets_of(list(layers)),
        use_rslora=next(iter(layers.values())).rank_scaled,
        rank_pattern={name: layer.rank for name, layer in layers.items() if layer.rank != rank},
        alpha_pattern={name: layer.alpha for name, layer in layers.items() if layer.alpha != alpha},
    )
