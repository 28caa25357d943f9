# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# PEFT's and transformers' forward and loading functions are untyped.
"""The base model in torch with the adapters that are loaded into it through PEFT."""

import contextlib
import tempfile
from collections import OrderedDict
from collections.abc import Collection, Generator, Sequence
from pathlib import Path
from typing import cast

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel

from populace.actors.engine import AdapterRef
from populace.actors.errors import AdapterInvalid
from populace.adapters.base_modules import BaseModules
from populace.adapters.memory.attached import AttachedMemory, MemoryPass
from populace.adapters.memory.attention import attention_layers
from populace.adapters.packing import check_directory, read_adapter, unpack_to_peft_directory
from populace.adapters.peft_directory import read_peft_directory
from populace.engines.serving_memory import ServingMemory
from populace.engines.torch_memory import RowMemory, one_token_pass

_BASE = "__base__"  # PEFT's name for a row without an adapter


class AdapterAbsent(Exception):
    """There is no file at the adapter's path. The engine opens it elsewhere and loads it then."""

    def __init__(self, adapter: AdapterRef) -> None:
        super().__init__(adapter)
        self.adapter = adapter


class AdaptedModel:
    """A causal language model with another adapter, or none, for each row of a batch.

    At most ``loaded_max`` adapters stay loaded; the least recently used one makes room. Not
    thread-safe: the engine's worker thread owns it.
    """

    def __init__(
        self,
        base_directory: Path,
        modules: BaseModules,
        *,
        dtype: torch.dtype,
        loaded_max: int,
        rank_max: int,
        memory: ServingMemory | None = None,
        scratch: Path | None = None,
    ) -> None:
        self._scratch = scratch
        self._model = cast(
            "PreTrainedModel | PeftModel",
            AutoModelForCausalLM.from_pretrained(
                str(base_directory), dtype=dtype, local_files_only=True
            ).eval(),
        )
        self._modules = modules
        self._loaded_max = loaded_max
        self._rank_max = rank_max
        self._loaded: OrderedDict[str, str] = OrderedDict()
        self._names_given = 0
        self._memory_module = None if memory is None else memory.module
        self._memory = (
            None
            if memory is None
            else AttachedMemory(
                cast("PreTrainedModel", self._model), memory.module, attention_layers(modules)
            )
        )

    def load(self, adapter: AdapterRef, in_use: Collection[str]) -> None:
        """Make the adapter usable; unload others if needed, but none whose digest is ``in_use``.

        Raises:
            AdapterInvalid: the directory or the packed file does not hold an adapter of this base.
            AdapterAbsent: there is neither.
        """
        if adapter.digest in self._loaded:
            self._loaded.move_to_end(adapter.digest)
            return
        if Path(adapter.path).is_absolute() and not Path(adapter.path).exists():
            raise AdapterAbsent(adapter)
        # PEFT keeps adapters in a ModuleDict, whose keys allow no dots: digests are not used as names.
        self._names_given += 1
        name = f"adapter{self._names_given}"
        try:
            with self._peft_directory(adapter) as directory:
                self._insert(str(directory), name)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise AdapterInvalid(f"PEFT cannot load it ({error})") from error
        self._loaded[adapter.digest] = name
        self._unload_surplus({*in_use, adapter.digest})

    def forget(self, digest: str) -> None:
        """Unload the adapter if it is loaded. No row may be using it."""
        if digest in self._loaded:
            self._unload(self._loaded.pop(digest))

    def forward(
        self,
        ids_BT: torch.Tensor,
        *,
        cache: DynamicCache,
        adapters: Sequence[AdapterRef | None],
        mask_BT: torch.Tensor | None = None,
        positions_BT: torch.Tensor | None = None,
        memory: MemoryPass | None = None,
        all_logits: bool = False,
    ) -> torch.Tensor:
        """Extend the cache and return the logits [B, 1, V] of the last position of each row, or of all."""
        if memory is not None:
            assert self._memory is not None, "a row with a memory was let in"
            with self._memory.running(memory):
                return self.forward(
                    ids_BT,
                    cache=cache,
                    adapters=adapters,
                    mask_BT=mask_BT,
                    positions_BT=positions_BT,
                    all_logits=all_logits,
                )
        names = [_BASE if adapter is None else self._loaded[adapter.digest] for adapter in adapters]
        # An all-base batch needs no PEFT hooks: they cost about 1 ms a step. Inside the PEFT
        # model a plain call would apply the active adapter, so the names go in once one is loaded.
        extra = {"adapter_names": names} if isinstance(self._model, PeftModel) else {}
        output = self._model(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            position_ids=positions_BT,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=0 if all_logits else 1,
            **extra,
        )
        return cast("torch.Tensor", output.logits)

    def embed(self, ids: Sequence[int]) -> tuple[float, ...]:
        """Return the mean of the base's last hidden states over the tokens, normalised."""
        extra = {"adapter_names": [_BASE]} if isinstance(self._model, PeftModel) else {}
        output = self._model(
            input_ids=torch.tensor([list(ids)]),
            output_hidden_states=True,
            use_cache=False,
            logits_to_keep=1,
            **extra,
        )
        hidden_TH = cast("torch.Tensor", output.hidden_states[-1])[0].float()
        mean_H = torch.nn.functional.normalize(hidden_TH.mean(dim=0), dim=0)
        return tuple(cast("list[float]", mean_H.tolist()))

    def one_token_pass(self, memories: Sequence[RowMemory | None]) -> MemoryPass | None:
        """Describe a step's use of the rows' memories; None if there is no use of any."""
        return None if self._memory_module is None else one_token_pass(memories, self._memory_module)

    @property
    def loaded(self) -> tuple[str, ...]:
        """The digests of the loaded adapters, the least recently used first."""
        return tuple(self._loaded)

    @contextlib.contextmanager
    def _peft_directory(self, adapter: AdapterRef) -> Generator[Path]:
        """Check the adapter; yield the directory that PEFT can load it from."""
        path = Path(adapter.path)
        if path.is_dir():
            check_directory(path, adapter.digest)
            read_peft_directory(path, self._modules, rank_max=self._rank_max)
            yield path
            return
        packed = read_adapter(path, self._modules, rank_max=self._rank_max, digest=adapter.digest)
        with tempfile.TemporaryDirectory(prefix=f"{adapter.digest}.", dir=self._scratch) as folder:
            unpack_to_peft_directory(packed, Path(folder))
            yield Path(folder)

    def _insert(self, path: str, name: str) -> None:
        """``autocast_adapter_dtype`` False keeps the adapter in the base's type, as vLLM has it."""
        if isinstance(self._model, PeftModel):
            self._model.load_adapter(path, adapter_name=name, autocast_adapter_dtype=False)
        else:
            self._model = PeftModel.from_pretrained(
                self._model, path, adapter_name=name, autocast_adapter_dtype=False
            )
        self._model.eval()

    def _unload_surplus(self, kept: Collection[str]) -> None:
        idle = [digest for digest in self._loaded if digest not in kept]
        for digest in idle[: max(0, len(self._loaded) - self._loaded_max)]:
            self._unload(self._loaded.pop(digest))

    def _unload(self, name: str) -> None:
        model = cast("PeftModel", self._model)
        if not self._loaded:  # PEFT has no forward pass without an adapter
            self._model = cast("PreTrainedModel", model.unload())
            return
        if name in model.active_adapters:  # PEFT warns if it has to choose another one itself
            model.set_adapter(next(reversed(self._loaded.values())))
        model.delete_adapter(name)
