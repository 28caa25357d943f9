"""The trainer gets a card that is left or a share of one, and no card is given out twice."""

from hypothesis import given
from hypothesis import strategies as st

from populace.policies.card_shares import NO_CARD, CardShares, card_shares

DEVICES = st.sampled_from(["auto", "cpu", "cuda"])
COUNTS = st.integers(0, 8)
SHARES = st.floats(0.05, 0.95)


@given(DEVICES, COUNTS, COUNTS, st.integers(1, 4), SHARES)
def test_no_card_is_given_out_twice(device: str, cards: int, asked: int, each: int, share: float) -> None:
    replicas = min(asked, cards // each)

    shares = card_shares(device, cards=cards, replicas=replicas, each=each, share=share)  # type: ignore[arg-type]

    if isinstance(shares, str):
        assert device == "cuda"
        return
    taken = replicas * shares.replica + (0 if shares.is_shared else shares.trainer)
    assert taken <= cards
    if shares.is_shared:
        assert shares.replica + shares.trainer == 1.0
    else:
        assert shares.replica == each


@given(DEVICES, COUNTS, st.integers(1, 4), SHARES)
def test_a_card_that_is_left_is_the_trainers_alone(
    device: str, replicas: int, each: int, share: float
) -> None:
    cards = replicas * each + 1

    shares = card_shares(device, cards=cards, replicas=replicas, each=each, share=share)  # type: ignore[arg-type]

    assert shares == CardShares(each, 0.0 if device == "cpu" else 1.0)


def test_one_card_is_shared_only_if_it_is_asked_for() -> None:
    assert card_shares("auto", cards=1, replicas=1, each=1, share=0.25) == CardShares(1, 0)
    assert card_shares("cuda", cards=1, replicas=1, each=1, share=0.25) == CardShares(0.75, 0.25)


def test_what_cannot_be_had_says_why() -> None:
    assert card_shares("cuda", cards=0, replicas=0, each=1, share=0.25) == NO_CARD
    refused = card_shares("cuda", cards=2, replicas=1, each=2, share=0.25)
    assert isinstance(refused, str)
    assert "takes 2 GPUs" in refused
