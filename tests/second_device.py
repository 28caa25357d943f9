# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportUnknownParameterType=false, reportAssignmentType=false
# torch's experimental interface for devices that are written in Python is untyped.
"""A second device where there is no GPU: it computes on the processor, and refuses what a GPU refuses.

Tensors on it are of torch's ``PrivateUse1`` kind. Each operation is that of the processor, on the tensor
within. As on a GPU, tensors of two devices do not mix, but for single numbers and for what indexes, and numpy
cannot read them: a forgotten ``.to(device)`` is an error here too.

Torch's threads for gradients are those of the devices that are registered at the first backward pass of a
process; a device that comes later has no gradients there.
"""

from functools import partial
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "second"

MAY_MIX = ("aten::copy_", "aten::_to_copy", "aten::index.", "aten::index_put", "aten::_index_put_impl_")
"""Operations whose arguments may be on both devices on a GPU too."""

_registered: list[torch.library.Library] = []


class SecondTensor(torch.Tensor):
    """A tensor on the device. ``within`` has its numbers."""

    within: torch.Tensor

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def of(within: torch.Tensor) -> "SecondTensor":
        tensor = torch.Tensor._make_wrapper_subclass(
            SecondTensor,
            within.shape,
            strides=within.stride(),
            storage_offset=within.storage_offset(),
            dtype=within.dtype,
            device=second_device(),
        )
        tensor.within = within
        return tensor

    @classmethod
    def __torch_dispatch__(
        cls, operation: torch._ops.OpOverload, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        del types
        return _computed(operation, *arguments, **(options or {}))


def second_device() -> torch.device:
    """Register the device, once in a process, and return it."""
    if not _registered:
        _setup_privateuseone_for_python_backend(NAME)
        # What makes a tensor has none yet that would say how it is computed.
        factories = torch.library.Library("_", "IMPL")
        factories.fallback(_computed, "PrivateUse1")
        # torch.tensor copies its numbers past the class of the tensor.
        copies = torch.library.Library("aten", "IMPL")
        copies.impl("copy_", partial(_computed, torch.ops.aten.copy_.default), "PrivateUse1")
        _registered.extend((factories, copies))
    return torch.device(NAME, 0)


def _within(value: Any) -> Any:
    if isinstance(value, SecondTensor):
        return value.within
    return torch.device("cpu") if isinstance(value, torch.device) else value


def _computed(operation: torch._ops.OpOverload, *arguments: Any, **options: Any) -> Any:
    name = operation.name()
    tensors = [value for value in tree_leaves((arguments, options)) if isinstance(value, torch.Tensor)]
    strangers = [tensor for tensor in tensors if not isinstance(tensor, SecondTensor) and tensor.dim()]
    if strangers and len(strangers) < len(tensors) and not name.startswith(MAY_MIX):
        raise RuntimeError(f"{name} was given tensors of two devices: {NAME} and {strangers[0].device}")
    given = {id(_within(tensor)): tensor for tensor in tensors}
    wants_other = options.get("device") is not None and torch.device(options["device"]).type != NAME

    def leaving(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if id(value) in given:  # changed in its place
            return given[id(value)]
        return value if wants_other else SecondTensor.of(value)

    return tree_map(leaving, operation(*tree_map(_within, arguments), **tree_map(_within, options)))
