"""Loads the sentence encoder when it is first needed: most hosts start, and many people talk, without it."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from populace.encoder.bert import BertEncoder

logger = logging.getLogger(__name__)


class EncoderOnUse:
    """The encoder in a directory, loaded by the first call. For one thread at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._encoder: BertEncoder | None = None
        self._failed = False

    def vectors(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """As ``BertEncoder.vectors``; zeros, which are like nothing, if the files cannot be loaded."""
        if self._encoder is None and not self._failed:
            self._load()
        if self._encoder is None:
            return np.zeros((len(texts), 1), np.float32)
        return self._encoder.vectors(texts)

    def _load(self) -> None:
        try:
            self._encoder = BertEncoder(self._directory)
        except Exception:
            self._failed = True
            logger.exception(
                "the sentence encoder in %s cannot be loaded: words alone decide what questions ask for",
                self._directory,
            )
