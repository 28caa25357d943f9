"""The ids of grants, which show whether the activation that made a grant was lost rather than passivated.

A grant id is ``<incarnation>:<activation>:<number>``: the host object, the number of its activation, and the
number of the turn in that activation.
"""

import secrets


class GrantIds:
    """Numbers one host's activations, and remembers up to which number each shard's were lost with it."""

    def __init__(self) -> None:
        self.incarnation = secrets.token_hex(8)
        self.activations = 0
        self._lost_before: dict[int, int] = {}

    @property
    def next_activation(self) -> str:
        """The start of the grant ids of the next activation; the caller counts that once it exists."""
        return f"{self.incarnation}:{self.activations}"

    def lose(self, shard: int) -> None:
        """Note that every activation of the shard so far is lost."""
        self._lost_before[shard] = self.activations

    def is_ours(self, grant_id: str, shard: int) -> bool:
        """Whether this host could still have the activation that granted a turn of the shard.

        If not, the turn is unknown here: grant and reply together may still be committed. If so, a turn
        that is not running was abandoned.
        """
        incarnation, activation, _ = grant_id.split(":")
        return incarnation == self.incarnation and int(activation) >= self._lost_before.get(shard, 0)
