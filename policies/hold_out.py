"""Which of a model's interactions are never trained on, so that its revisions can be judged by them.

Of every ``EVERY`` positions in a row one is held out, which one is a fixed function of the position alone:
the same before and after an export, a fork and a restart, however long the log has become meanwhile.
"""

from hashlib import blake2b

EVERY = 8
"""One in eight: of the sixteen interactions after which a model is trained first, two."""


def is_held_out(position: int) -> bool:
    """Whether the interaction at this position of a log judges, and does not teach."""
    block, place = divmod(position, EVERY)
    return place == blake2b(b"hold-out %d" % block, digest_size=8).digest()[0] % EVERY
