# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# vLLM's classes are annotated in part only.
"""vLLM's worker with a memory, given to it by name as its ``worker_cls``.

All that is read of vLLM's own state is in ``_scheduled`` and ``_running``: the model runner's batch.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from vllm.distributed import get_tensor_model_parallel_rank, get_tensor_model_parallel_world_size
from vllm.forward_context import get_forward_context
from vllm.platforms import current_platform

from populace.actors.errors import MemoryModuleMismatch
from populace.adapters.memory.module import MemoryModule, digest_of, read_packed
from populace.engines.vllm_memory.attached import ServedMemory
from populace.engines.vllm_memory.blocks import Scheduled, attention_of, served_blocks
from populace.engines.vllm_memory.gated import ServedGatedMemory
from populace.engines.vllm_memory.request import MODULE_BASE, MODULE_DIGEST, MODULE_PATH, MemoryRequest

if TYPE_CHECKING or not current_platform.is_cpu():
    from vllm.v1.worker.gpu_worker import Worker
else:
    from vllm.v1.worker.cpu_worker import CPUWorker as Worker


class MemoryWorker(Worker):
    """Attaches the memory to the model once it is loaded, adapters and all."""

    def load_model(self, *args: Any, **options: Any) -> None:
        super().load_model(*args, **options)
        self._known: dict[str, MemoryRequest | None] = {}
        config: Any = self.vllm_config.additional_config
        model = self.model_runner.get_model()
        blocks = served_blocks(
            model, get_tensor_model_parallel_rank(), get_tensor_model_parallel_world_size()
        )
        data = read_packed(Path(config[MODULE_PATH]))
        if digest_of(data) != config[MODULE_DIGEST]:
            raise MemoryModuleMismatch(f"{config[MODULE_PATH]} changed while the engine started")
        module = MemoryModule.unpack(data, config[MODULE_BASE], attention_of(blocks))
        device = cast("torch.device", self.device)
        self._memory: ServedMemory | ServedGatedMemory
        if module.shape.gated:
            self._memory = ServedGatedMemory(
                model, module, blocks, device=device, scheduled=self._scheduled, running=self._running
            )
        else:
            self._memory = ServedMemory(
                model,
                module,
                blocks,
                requests_max=self.vllm_config.scheduler_config.max_num_seqs,
                device=device,
                scheduled=self._scheduled,
                running=self._running,
            )

    def take_memory_state(self, key: str, tokens: int) -> bytes | None:
        """Called through ``collective_rpc`` after a request's end; see ``ServedMemory.take``."""
        return self._memory.take(key, tokens)

    def _requests(self) -> dict[str, MemoryRequest | None]:
        """The requests that vLLM knows, waiting for another step or in this one."""
        present = self.model_runner.requests
        if present.keys() != self._known.keys():
            self._known = {
                request_id: self._known[request_id] if request_id in self._known else _request_of(state)
                for request_id, state in present.items()
            }
        return self._known

    def _scheduled(self) -> list[Scheduled]:
        """The requests of the forward pass that begins; none in a dummy one."""
        if not get_forward_context().attn_metadata:
            return []
        requests = self._requests()
        batch = self.model_runner.input_batch
        starts = self.model_runner.query_start_loc.np
        return [
            Scheduled(
                requests[request_id],
                int(starts[row]),
                int(starts[row + 1]),
                int(batch.num_computed_tokens_cpu[row]),
            )
            for row, request_id in enumerate(batch.req_ids)
        ]

    def _running(self) -> set[str]:
        return {request.key for request in self._requests().values() if request is not None}


def _request_of(state: Any) -> MemoryRequest | None:
    return None if state.sampling_params is None else MemoryRequest.of(state.sampling_params.extra_args)
