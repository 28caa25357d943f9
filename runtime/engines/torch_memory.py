"""The memory states of the rows of a torch batch: what each row reads, and what it has written.

Shape suffixes: L = layers, B = rows, N = states, R = rank, T = tokens, H = hidden width.
"""

from collections.abc import Sequence

import torch

from populace.adapters.memory.attached import MemoryPass
from populace.adapters.memory.module import MemoryModule
from populace.adapters.memory.state import StateFormat
from populace.engines.prompts import PromptTokens


class RowMemory:
    """One row's state. With writes of message means, the row reads the starting state to its end."""

    def __init__(
        self,
        module: MemoryModule,
        state_format: StateFormat,
        state_LNRR: torch.Tensor,
        prompt: PromptTokens,
        *,
        reads: bool,
        writes: bool,
    ) -> None:
        self._module = module
        self._format = state_format
        self._by_message = module.shape.writes == "message"
        self.reads = reads
        self.writes = writes
        self.reading_LNRR = state_LNRR
        self._written_LNRR = state_LNRR
        self._prompt = prompt
        self._reply_sums: list[torch.Tensor] = []
        self._reply_tokens = 0

    @property
    def goes_on(self) -> bool:
        """Whether the tokens of the reply use the memory: with a closed gate they do not."""
        return self.reads or not self._module.shape.gated

    def begin(self) -> MemoryPass:
        """Describe the forward pass over the whole prompt, alone."""
        messages_1T = torch.full((1, len(self._prompt.ids)), -1)
        for message, (start, stop) in enumerate(self._prompt.spans):
            messages_1T[0, start:stop] = message
        states = [state.unsqueeze(0) for state in self.reading_LNRR]
        return MemoryPass(
            states,
            messages_1T >= 0,
            messages_1T,
            torch.tensor([self.reads]),
            decides=self._module.shape.gated,
        )

    def end_prompt(self, passed: MemoryPass) -> None:
        self._written_LNRR = torch.stack([state[0] for state in passed.states])
        if self._module.shape.gated:
            assert passed.reads is not None
            self.reads = bool(passed.reads[0])
        if not self._by_message:
            self.reading_LNRR = self._written_LNRR

    def advance(self, passed: MemoryPass, row: int) -> None:
        """Take over the states after a pass over one token of each row."""
        if not self.writes or self._module.shape.gated:  # a gated module does not write replies
            return
        if not self._by_message:
            self.reading_LNRR = self._written_LNRR = torch.stack([state[row] for state in passed.states])
            return
        hidden = [hidden_BTH[row, 0].float() for hidden_BTH in passed.hidden]
        self._reply_sums = [
            old + new
            for old, new in zip(self._reply_sums or [torch.zeros(())] * len(hidden), hidden, strict=True)
        ]
        self._reply_tokens += 1

    def packed(self) -> bytes | None:
        """Return the state that the reply left, None if nothing was to be written.

        Raises ``MemoryStateInvalid`` if it holds NaN or infinity.
        """
        if not self.writes:
            return None
        state_LNRR = self._written_LNRR
        if self._reply_tokens:
            one = torch.ones(1, 1, dtype=torch.bool)
            means = [sums.view(1, 1, -1) / self._reply_tokens for sums in self._reply_sums]
            state_LNRR = torch.stack(
                [
                    self._module.layer(number)(
                        mean, state_LNRR[number : number + 1], one, one.long() - 1
                    ).state[0]
                    for number, mean in enumerate(means)
                ]
            )
        return self._format.pack(state_LNRR.numpy())


def one_token_pass(memories: Sequence[RowMemory | None], module: MemoryModule) -> MemoryPass | None:
    """Describe a pass over one token of each row; return None if no row uses a memory."""
    if not any(memory is not None and memory.goes_on for memory in memories):
        return None
    empty_LNRR = module.fresh_states(1)[:, 0]
    states_LBNRR = torch.stack(
        [empty_LNRR if memory is None else memory.reading_LNRR for memory in memories], dim=1
    )
    by_token, gated = module.shape.writes == "token", module.shape.gated
    writes = [memory is not None and memory.writes and by_token and not gated for memory in memories]
    reads = [memory is not None and memory.reads for memory in memories]
    one_B1 = torch.tensor(writes).unsqueeze(1)
    return MemoryPass(
        list(states_LBNRR),
        one_B1,
        torch.zeros_like(one_B1, dtype=torch.long),
        torch.tensor(reads),
        keeps_hidden=not by_token,
    )
