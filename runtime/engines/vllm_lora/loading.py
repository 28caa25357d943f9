# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# vLLM's classes are annotated in part only.
"""Adapters in vLLM's worker: from serving images, which are mapped.

vLLM reads a PEFT directory file by file and tensor by tensor, inside the engine's loop, and would look for a
path that is not there on a hub. Here what a request names is an image that was made and checked before. A
directory is read as vLLM does it, for a user who starts vLLM's own server with this plugin.
"""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from vllm.lora.lora_model import LoRAModel
from vllm.lora.lora_weights import LoRALayerWeights
from vllm.lora.utils import parse_fine_tuned_lora_name
from vllm.lora.worker_manager import WorkerLoRAManager

from populace.adapters.serving_image import NAMES, group_tensor, matrix_bytes
from populace.adapters.tensor_file import tensor_name
from populace.storage.packed.adapter import PackedAdapter, pack_adapter
from populace.storage.packed.layout import Factor, Side


class ImageModel(LoRAModel):
    """An adapter as vLLM lists it. ``image`` stays mapped as long as it is listed."""

    def __init__(self, number: int, image: PackedAdapter, loras: dict[str, LoRALayerWeights]) -> None:
        super().__init__(number, image.rank, loras)
        self.image = image


def install(*, on_cpu: bool) -> None:
    """Have the worker load images. Call once, before a model is loaded."""

    load_directory = WorkerLoRAManager._load_adapter

    @wraps(load_directory)
    def load_image(self: Any, lora_request: Any) -> LoRAModel:
        path = Path(lora_request.lora_path)
        if path.is_dir():
            model = load_directory(self, lora_request)
            return ImageModel(model.id, image_of(model), {}) if on_cpu else model
        image = PackedAdapter.open(path)
        manager = self._adapter_manager
        # A CPU reads them where they lie; see ``cpu.py``.
        loras = {} if on_cpu else layer_weights(image, renamed_by(manager.model))
        return ImageModel(lora_request.lora_int_id, image, loras)

    WorkerLoRAManager._load_adapter = load_image


def image_of(model: LoRAModel) -> PackedAdapter:
    """Make the image of an adapter that vLLM has read."""
    factors: list[Factor] = []
    matrices: dict[tuple[str, Side], memoryview] = {}
    for module, weights in model.loras.items():
        sides: tuple[tuple[Side, torch.Tensor], ...] = (("A", weights.lora_a), ("B", weights.lora_b.T))
        for side, matrix in sides:
            rows, columns = matrix.shape
            alpha = float(weights.scaling) * weights.rank  # vLLM folds the scale into B later
            factors.append(Factor(module, side, (rows, columns), NAMES[matrix.dtype], alpha))
            matrices[module, side] = matrix_bytes(matrix)
    return PackedAdapter(memoryview(pack_adapter(matrices, factors, base=None, config=b"")))


def renamed_by(model: Any) -> Callable[[str], str]:
    """Make vLLM's name of a base's module, as it does for the tensors of a PEFT directory."""
    mapper = getattr(model, "hf_to_vllm_mapper", None)
    renames = None if mapper is None else mapper.get_rename_mapper()

    def renamed(module: str) -> str:
        name, _ = parse_fine_tuned_lora_name(tensor_name(module, "A"), renames)
        return name

    return renamed


def layer_weights(image: PackedAdapter, renamed: Callable[[str], str]) -> dict[str, LoRALayerWeights]:
    """Make what vLLM copies into its slots: each module's A [rank, inputs] and scaled B [outputs, rank]."""
    matrices: dict[str, dict[str, torch.Tensor]] = {}
    scales: dict[str, float] = {}
    for group in image.groups:
        stack = group_tensor(image, group).view(-1, *group.shape)
        for (factor, _), matrix in zip(group.factors(), stack, strict=True):
            matrices.setdefault(factor.module, {})[factor.side] = matrix
            scales[factor.module] = image.scaling_of(group)
    loras: dict[str, LoRALayerWeights] = {}
    for module, sides in matrices.items():
        a, b = sides["A"], sides["B"]
        name = renamed(module)
        # The scale is in B already: alpha of the rank is a scale of 1.
        loras[name] = LoRALayerWeights(name, a.shape[0], a.shape[0], a, b.T * scales[module])
    return loras
