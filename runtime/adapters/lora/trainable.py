"""An adapter as trainable parameters, which can be packed into a revision and read from one."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import PreTrainedModel

from populace.actors.training_options import Start
from populace.adapters.base_modules import BaseModules
from populace.adapters.lora.initial import initial_factors
from populace.adapters.lora.layer import LoraLayer
from populace.adapters.lora.shape import LoraShape, targets_of
from populace.adapters.packing import check_packed_adapter, read_adapter
from populace.adapters.peft_config import write_peft_config
from populace.adapters.serving_image import NAMES, TYPES, matrix_bytes
from populace.storage.packed.adapter import PackedAdapter, pack_adapter
from populace.storage.packed.layout import Factor, Side


class TrainableAdapter(torch.nn.Module):
    """The layers of one adapter by their dotted names in the base; ranks and scalings may differ."""

    def __init__(self, layers: Mapping[str, LoraLayer]) -> None:
        super().__init__()
        self.layers = dict(layers)
        # torch does not allow dots in the name of a submodule.
        for name, layer in layers.items():
            self.add_module(name.replace(".", "/"), layer)

    @classmethod
    def begin(
        cls, model: PreTrainedModel, base: BaseModules, shape: LoraShape, start: Start, *, seed: int
    ) -> "TrainableAdapter":
        """Make an untrained adapter, whose ΔW is 0, with the initial factors of ``start``.

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
        return cls(
            {
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
        )

    def factors(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Return copies of the factors A and B of each layer, by its name."""
        return {
            name: (layer.a.detach().clone(), layer.b.detach().clone()) for name, layer in self.layers.items()
        }

    @torch.no_grad()
    def set_between(
        self,
        before: Mapping[str, tuple[torch.Tensor, torch.Tensor]] | None,
        after: Mapping[str, tuple[torch.Tensor, torch.Tensor]],
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
        """Pack the adapter as a revision, rounded to ``dtype``; in the base's type it is served as it is."""
        merged = {name: layer.merged() for name, layer in self.layers.items()}
        factors: list[Factor] = []
        matrices: dict[tuple[str, Side], memoryview] = {}
        for name, layer in merged.items():
            sides: tuple[tuple[Side, torch.Tensor], ...] = (("A", layer.a), ("B", layer.b.T))
            for side, matrix in sides:
                shape = (layer.rank, matrix.shape[1])
                factors.append(Factor(name, side, shape, NAMES[dtype], layer.alpha))
                matrices[name, side] = matrix_bytes(matrix.detach().to(dtype))
        rank_scaled = next(iter(merged.values())).rank_scaled
        config = _peft_config(merged)
        return pack_adapter(
            matrices, factors, base=fingerprint, config=config, rank_scaled=rank_scaled, metadata=_METADATA
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
