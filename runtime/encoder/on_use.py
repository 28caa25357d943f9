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

    @property
    def is_loaded(self) -> bool:
        return self._encoder is not None

    def vectors(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """As ``BertEncoder.vectors``; zeros, which are like nothing, if the encoder cannot be used.

        A turn must not fail for that, so the first failure is logged, and is the last one.
        """
        if not self._failed:
            try:
                self._encoder = self._encoder or BertEncoder(self._directory)
                return self._encoder.vectors(texts)
            except Exception:
                self._encoder, self._failed = None, True
                logger.exception(
                    "the sentence encoder in %s cannot be used: words alone decide what questions ask for",
                    self._directory,
                )
        return np.zeros((len(texts), 1), np.float32)
