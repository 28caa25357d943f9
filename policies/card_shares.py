"""Divides a node's GPUs among its engine replicas and the trainer, as Ray counts them.

A trainer is given a card of its own where the replicas leave one. Else it may have a share of a replica's
card, as Ray would otherwise never place it: a replica that asks for a whole card leaves nothing of it.
"""

from typing import Literal, NamedTuple

TrainingDevice = Literal["auto", "cpu", "cuda"]

NO_CARD = "the machine with the store has no GPU"
NOT_SHARED = (
    "each replica takes {each} GPUs of the machine with the store, and the trainer has no share of "
    "cards that work together"
)


class CardShares(NamedTuple):
    """What each replica and the trainer ask for, in cards. A trainer with 0 computes on the processor."""

    replica: float
    trainer: float

    @property
    def is_shared(self) -> bool:
        """Whether the trainer is on a replica's card, of which a replica then has its own share only."""
        return 0 < self.trainer < 1


def card_shares(
    device: TrainingDevice, *, cards: int, replicas: int, each: int, share: float
) -> CardShares | str:
    """Share out the ``cards`` of the node with the store, on which ``replicas`` take ``each`` cards.

    ``share`` is that of a card which the trainer has of a replica's. With ``auto`` the trainer takes a card
    that is left, and the processor if there is none. Returns why ``cuda`` cannot be had, where it cannot.
    """
    whole = CardShares(float(each), 0.0)
    if device == "cpu":
        return whole
    if cards - replicas * each >= 1:
        return whole._replace(trainer=1.0)
    if device == "auto":
        return whole
    if cards < 1:
        return NO_CARD
    if each > 1:
        return NOT_SHARED.format(each=each)
    return CardShares(1.0 - share, share)
