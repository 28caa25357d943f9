"""What names a grant, and tells whether the activation that gave it is gone for another reason than its end.

A grant id is ``<incarnation>:<activation>:<number>``: which host object, its how many-th activation, and
which of that one's turns.
"""

import secrets


class GrantIds:
    """The activations of one host, and up to which of them each shard's were lost with the shard."""

    def __init__(self) -> None:
        self.incarnation = secrets.token_hex(8)
        self.activations = 0
        self._lost_before: dict[int, int] = {}

    @property
    def next_activation(self) -> str:
        """What the grant ids of the next activation start with; the caller counts it when it exists."""
        return f"{self.incarnation}:{self.activations}"

    def lose(self, shard: int) -> None:
        """Note that every activation of the shard so far is lost."""
        self._lost_before[shard] = self.activations

    def is_ours(self, grant_id: str, shard: int) -> bool:
        """Whether this host could still have the activation that granted a turn of the shard.

        If not, nobody here knows of the turn any more: grant and reply together may still be
        committed. If so, a turn that is not running was given up.
        """
        incarnation, activation, _ = grant_id.split(":")
        return incarnation == self.incarnation and int(activation) >= self._lost_before.get(shard, 0)
