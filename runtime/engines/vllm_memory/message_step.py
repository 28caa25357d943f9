"""The δ-mem of an engine step when each message writes its mean (SSW). Shape suffixes: ``weights.py``."""

import torch

from populace.engines.vllm_memory.weights import FusedWeights, Part, reading_tokens


class MessageStep:
    """A step in which each message writes the mean of its tokens once it is complete (SSW).

    Tokens read the states from before the turn, ``reading_LSNRR``. ``states_LSNRR`` are those that the
    complete messages have written, ``sums_LSH`` the sums of the hidden inputs of the open ones.
    """

    def __init__(
        self,
        weights: FusedWeights,
        reading_LSNRR: torch.Tensor,
        states_LSNRR: torch.Tensor,
        sums_LSH: torch.Tensor,
        open_tokens: list[int],
        parts: list[Part],
        tokens: int,
        reads: list[bool],
    ) -> None:
        self._weights = weights
        self._delta_TH = torch.empty(0)
        self._reading_LSNRR = reading_LSNRR
        self.states_LSNRR = states_LSNRR
        self.sums_LSH = sums_LSH
        self._parts = parts
        self.tokens = tokens
        self._read_T1 = reading_tokens(parts, reads, tokens, states_LSNRR.device)
        self._before = open_tokens
        self.open_tokens = [_open_after(before, parts, row) for row, before in enumerate(open_tokens)]

    def layer(self, number: int, hidden_TH: torch.Tensor, projected_TP: torch.Tensor) -> None:
        """Read and write the states of a layer, and add to its query projection; see ``TokenStep``."""
        weights = self._weights
        hidden_TH = hidden_TH[: self.tokens]
        pairs_TN2R = weights.pairs(weights.project(number, hidden_TH))
        read_TW = hidden_TH.new_zeros(self.tokens, weights.shape.width, dtype=torch.float32)
        for part in self._parts:
            query_NTR = pairs_TN2R[part.first : part.last, :, 0].transpose(0, 1)
            read_NTR = query_NTR @ self._reading_LSNRR[number, part.row].transpose(-1, -2)
            read_TW[part.first : part.last] = read_NTR.transpose(0, 1).flatten(1)
            count = self._before[part.row]
            for first, last, ends in part.writes:
                self.sums_LSH[number, part.row] += hidden_TH[first:last].float().sum(0)
                count += last - first
                if ends:
                    write_mean(
                        weights,
                        number,
                        self.states_LSNRR[number, part.row],
                        self.sums_LSH[number, part.row],
                        count,
                    )
                    count = 0
        if self._read_T1 is not None:
            read_TW = read_TW * self._read_T1
        self._delta_TH = weights.add(number, read_TW, projected_TP[: self.tokens])

    def add_output(self, output_TH: torch.Tensor) -> None:
        """Add to the layer's output projection in place."""
        output_TH[: self.tokens] += self._delta_TH

    def finish(self) -> torch.Tensor:
        return self.states_LSNRR


def write_mean(
    weights: FusedWeights, layer: int, state_NRR: torch.Tensor, sum_H: torch.Tensor, count: int
) -> None:
    """Write a message's mean into a layer's state, in place, and empty its sum."""
    raw_1J = weights.project(layer, (sum_H / count).unsqueeze(0))
    pairs_1N2R = weights.pairs(raw_1J)
    value_1NR, rate_1NR = weights.value_and_rate(raw_1J)
    key_NR, rate_NR = pairs_1N2R[0, :, 1], rate_1NR[0]
    error_NR = value_1NR[0] - (state_NRR @ key_NR.unsqueeze(-1)).squeeze(-1)
    state_NRR.mul_((1 - rate_NR).unsqueeze(-1)).add_(
        (rate_NR * error_NR).unsqueeze(-1) * key_NR.unsqueeze(-2)
    )
    sum_H.zero_()


def _open_after(before: int, parts: list[Part], row: int) -> int:
    count = before
    for part in parts:
        if part.row == row:
            for first, last, ends in part.writes:
                count = 0 if ends else count + last - first
    return count
