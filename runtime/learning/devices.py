# pyright: reportUnknownMemberType=false
# torch.cuda is partly untyped.
"""The device that training computes on, and how much of its memory it takes."""

import torch


def training_device(gpu_share: float) -> str:
    """Return torch's name of the device: that of a GPU for a share of one, if torch finds it.

    The process then takes no more than this share of the GPU's memory: an allocation beyond it raises
    ``torch.OutOfMemoryError``, and leaves the rest to the engine on that GPU.
    """
    if not gpu_share or not torch.cuda.is_available():
        return "cpu"
    if gpu_share < 1:
        torch.cuda.set_per_process_memory_fraction(gpu_share)
    return "cuda"


def forget_freed() -> None:
    """Give back what torch keeps of a GPU's memory for its next tensors."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
