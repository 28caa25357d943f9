"""Training statistics for operators."""

from collections.abc import Mapping
from typing import NamedTuple


class TrainingStatistics(NamedTuple):
    """What became of the training jobs of one host's models.

    ``open`` counts those that have not ended, by state. Since the host started, ``ended`` have, by state, and
    ``steps`` were taken over ``tokens``; the newest step was reported at ``stepped_ms``, and the newest end
    was at ``finished_ms``, None if there was none.
    """

    open: Mapping[str, int]
    ended: Mapping[str, int]
    steps: int
    tokens: int
    stepped_ms: int | None
    finished_ms: int | None
