"""Keeps the base's own replies to fixed requests in files, so that no later trainer asks for them again.

A job that learns corrections keeps 160 replies of the base, and every candidate's are compared with 32 more:
half a minute of an engine on two cores, for each trainer that starts, and also after it let go of its base.
"""

import json
import logging
from collections.abc import Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from populace.actors.engine import MemoryUse, Message
from populace.learning.general_replies import Answerer
from populace.learning.rollouts import Rollout
from populace.storage.records.files import replaced_durably

logger = logging.getLogger(__name__)


class BaseReplies:
    """An ``Answerer`` whose replies of the base alone are kept in ``directory``.

    Ask it for what everybody has in common: what is asked is not written, but the replies are.
    """

    def __init__(self, answerer: Answerer, directory: Path, fingerprint: str) -> None:
        """``fingerprint`` is the base's. Files of one directory must come from one kind of engine."""
        self._answerer = answerer
        self._directory = directory
        self._fingerprint = fingerprint

    @property
    def context_tokens(self) -> int:
        return self._answerer.context_tokens

    def answers(
        self,
        packed: bytes | bytearray | None,
        prompts: Sequence[tuple[Message, ...]],
        *,
        tokens_max: int,
        memory: MemoryUse | None = None,
    ) -> list[Rollout]:
        """See ``Answerer``; a directory that takes no files changes nothing."""
        if packed is not None or memory is not None:
            return self._answerer.answers(packed, prompts, tokens_max=tokens_max, memory=memory)
        path = self._directory / f"{self._key(prompts, tokens_max)}.json"
        kept = _read(path, prompts)
        if kept is not None:
            return kept
        replies = self._answerer.answers(None, prompts, tokens_max=tokens_max)
        _write(path, replies)
        return replies

    def _key(self, prompts: Sequence[tuple[Message, ...]], tokens_max: int) -> str:
        """Name what the replies follow from; another release may ask its engine in another way."""
        parts = (self._fingerprint, version("populace"), tokens_max, prompts)
        return sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _read(path: Path, prompts: Sequence[tuple[Message, ...]]) -> list[Rollout] | None:
    """Return the replies of a file; None if there is none, or something else is in it."""
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        replies = [
            Rollout(
                prompt=prompt,
                reply=str(row["reply"]),
                reply_ids=tuple(map(int, row["reply_ids"])),
                log_probs=tuple(map(float, row["log_probs"])),
                revision=str(row["revision"]),
                seed=int(row["seed"]),
                finished=bool(row["finished"]),
            )
            for prompt, row in zip(prompts, rows, strict=True)
        ]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("the base's replies in %s cannot be read, and are made anew: %s", path, error)
        return None
    return replies


def _write(path: Path, replies: Sequence[Rollout]) -> None:
    rows = [
        {name: value for name, value in reply._asdict().items() if name not in ("prompt", "reward")}
        for reply in replies
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced_durably(path) as file:
            file.write(json.dumps(rows).encode())
    except OSError as error:
        logger.info("the base's replies are not kept in %s: %s", path.parent, error)
