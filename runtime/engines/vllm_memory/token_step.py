"""The δ-mem of an engine step in torch operations, for any device: every token writes at once (TSW, MSW).

Per layer there is one product for query, key, value and rate, one for what was read and recalled, and one
for both projections of what was read; the states of the tokens that come alone (replies being written)
are updated for all layers at once after the last. Shape suffixes are in ``weights.py``.
"""

import torch

from populace.adapters.memory.scan import TokenInputs, scan_chunks
from populace.engines.vllm_memory.weights import FusedWeights, Part, reading_tokens


class TokenStep:
    """A step in which every written token writes the state that the next one reads (TSW and MSW).

    ``states_LSNRR`` holds the states before the step, and after ``finish`` those after it.
    """

    def __init__(
        self,
        weights: FusedWeights,
        states_LSNRR: torch.Tensor,
        parts: list[Part],
        tokens: int,
        reads: list[bool],
    ) -> None:
        """``tokens`` counts all of the step, also those of requests that are in no part.

        ``reads`` says of each request whether its tokens read.
        """
        self._weights = weights
        self._delta_TH = torch.empty(0)
        self.states_LSNRR = states_LSNRR
        self.tokens = tokens
        device = states_LSNRR.device
        self._read_T1 = reading_tokens(parts, reads, tokens, device)
        singles = [part for part in parts if part.last - part.first == 1]
        spans = [part for part in parts if part.last - part.first > 1]
        rows = [part.row for part in singles]
        self._every_token_is_single = len(singles) == tokens == states_LSNRR.shape[1] and rows == list(
            range(tokens)
        )
        self._single_rows = torch.tensor(rows, dtype=torch.long, device=device)
        self._single_tokens = torch.tensor([part.first for part in singles], dtype=torch.long, device=device)
        self._single_writes_S11 = torch.tensor(
            [float(bool(part.writes)) for part in singles], device=device
        ).view(-1, 1, 1)
        self._any_single_writes = any(part.writes for part in singles)
        self._spans = _Spans(spans, device) if spans else None
        self._raw: list[torch.Tensor] = []
        self._keys: list[torch.Tensor] = []
        self._recalled: list[torch.Tensor] = []

    def layer(self, number: int, hidden_TH: torch.Tensor, projected_TP: torch.Tensor) -> None:
        """Read and write the states of a layer, and add to its query projection in place.

        ``projected_TP`` begins with the query's columns. Rows after the step's tokens are left alone.
        """
        weights = self._weights
        raw_TJ = weights.project(number, hidden_TH[: self.tokens])
        pairs_TN2R = weights.pairs(raw_TJ)
        if self._every_token_is_single:
            read_TW = self._read_singles(number, raw_TJ, pairs_TN2R)
        else:
            read_TW = raw_TJ.new_zeros(self.tokens, weights.shape.width)
            if len(self._single_tokens):
                chosen = self._single_tokens
                read_TW[chosen] = self._read_singles(number, raw_TJ[chosen], pairs_TN2R[chosen])
            if self._spans is not None:
                self._scan_spans(number, raw_TJ, pairs_TN2R, read_TW)
        if self._read_T1 is not None:
            read_TW = read_TW * self._read_T1
        self._delta_TH = weights.add(number, read_TW, projected_TP[: self.tokens])

    def add_output(self, output_TH: torch.Tensor) -> None:
        """Add to the layer's output projection in place."""
        output_TH[: self.tokens] += self._delta_TH

    def finish(self) -> torch.Tensor:
        """Write what the single tokens bring, in all layers, and return the states after the step."""
        if self._any_single_writes:
            value, rate = self._weights.value_and_rate(torch.stack(self._raw))
            rate = rate * self._single_writes_S11
            key, recalled = torch.stack(self._keys), torch.stack(self._recalled)
            old = (
                self.states_LSNRR
                if self._every_token_is_single
                else self.states_LSNRR.index_select(1, self._single_rows)
            )
            new = (1 - rate).unsqueeze(-1) * old + (rate * (value - recalled)).unsqueeze(-1) * key.unsqueeze(
                -2
            )
            if self._every_token_is_single:
                self.states_LSNRR = new
            else:
                self.states_LSNRR.index_copy_(1, self._single_rows, new)
        return self.states_LSNRR

    def _read_singles(self, number: int, raw_SJ: torch.Tensor, pairs_SN2R: torch.Tensor) -> torch.Tensor:
        states_SNRR = self.states_LSNRR[number]
        if not self._every_token_is_single:
            states_SNRR = states_SNRR.index_select(0, self._single_rows)
        both_SNR2 = states_SNRR @ pairs_SN2R.transpose(-1, -2)
        if self._any_single_writes:
            self._raw.append(raw_SJ)
            self._keys.append(pairs_SN2R[..., 1, :])
            self._recalled.append(both_SNR2[..., 1])
        return both_SNR2[..., 0].flatten(1)

    def _scan_spans(
        self, number: int, raw_TJ: torch.Tensor, pairs_TN2R: torch.Tensor, read_TW: torch.Tensor
    ) -> None:
        spans = self._spans
        assert spans is not None
        states_SNRR = self.states_LSNRR[number].index_select(0, spans.rows)
        pairs_SPN2R = pairs_TN2R[spans.tokens_SP]
        query = pairs_SPN2R[..., 0, :].transpose(1, 2)
        if spans.any_writes:
            value, rate = self._weights.value_and_rate(raw_TJ[spans.tokens_SP])
            tokens = TokenInputs(
                query,
                pairs_SPN2R[..., 1, :].transpose(1, 2),
                value.transpose(1, 2),
                rate.transpose(1, 2) * spans.writes_S1P1,
            )
            read, after = scan_chunks(tokens, states_SNRR)
            self.states_LSNRR[number].index_copy_(0, spans.rows, after)
        else:
            read = query @ states_SNRR.transpose(-1, -2)
        read_TW[spans.valid_tokens] = read.transpose(1, 2).flatten(2)[spans.valid_SP]


class _Spans:
    """The requests with several tokens in this step, side by side and filled up to the longest."""

    def __init__(self, spans: list[Part], device: torch.device) -> None:
        longest = max(span.last - span.first for span in spans)
        place_1P = torch.arange(longest).unsqueeze(0)
        length_S1 = torch.tensor([[span.last - span.first] for span in spans])
        valid_SP = place_1P < length_S1
        # Filled up with a token of the same request: what is wrong with another's must not reach it.
        first_S1 = torch.tensor([[span.first] for span in spans])
        tokens_SP = first_S1 + torch.where(valid_SP, place_1P, 0)
        writes_SP = torch.zeros(len(spans), longest)
        for index, span in enumerate(spans):
            for first, last, _ in span.writes:
                writes_SP[index, first - span.first : last - span.first] = 1.0
        self.any_writes = bool(writes_SP.any())
        self.rows = torch.tensor([span.row for span in spans], device=device)
        self.tokens_SP = tokens_SP.to(device)
        self.valid_SP = valid_SP.to(device)
        self.valid_tokens = tokens_SP[valid_SP].to(device)
        self.writes_S1P1 = writes_SP[:, None, :, None].to(device)
