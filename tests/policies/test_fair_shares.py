"""Who is next: the one that had least."""

from hypothesis import given
from hypothesis import strategies as st

from populace.policies.fair_shares import FairShares


def next_of(shares: FairShares[str], *asking: str) -> str:
    return min(asking, key=shares.precedence)


def test_two_that_always_ask_take_turns_by_what_they_were_served() -> None:
    shares: FairShares[str] = FairShares()
    shares.begin("ada")
    shares.begin("bob")

    served: list[str] = []
    for _ in range(6):
        served.append(next_of(shares, "ada", "bob"))
        shares.charge(served[-1], 2 if served[-1] == "ada" else 1)

    assert served == ["ada", "bob", "bob", "ada", "bob", "bob"]


def test_what_was_not_asked_for_in_the_past_gives_no_claim() -> None:
    shares: FairShares[str] = FairShares()
    shares.begin("ada")
    shares.charge("ada", 1000)

    shares.begin("late")

    assert shares.precedence("late")[0] == 1000
    assert next_of(shares, "ada", "late") == "late"


def test_leaving_and_coming_back_forgets_nothing_while_others_ask() -> None:
    shares: FairShares[str] = FairShares()
    shares.begin("flood")
    shares.begin("ada")
    shares.charge("flood", 500)
    shares.end("flood")

    shares.begin("flood")

    assert (shares.precedence("flood")[0], shares.precedence("ada")[0]) == (500, 0)


def test_those_who_left_are_not_kept_once_they_would_begin_anew() -> None:
    shares: FairShares[str] = FairShares()
    for number in range(1000):
        shares.begin(str(number))
        shares.charge(str(number), 1)
        shares.end(str(number))

    shares.begin("ada")

    assert shares.precedence("ada") == (0, 0)


PIECE_MAX = 100


@given(
    pieces=st.lists(st.integers(1, PIECE_MAX), min_size=1, max_size=200),
    others=st.lists(st.sampled_from(["begin", "end", "serve"]), max_size=200),
)
def test_two_that_always_ask_differ_by_two_pieces_at_most_whatever_a_third_does(
    pieces: list[int], others: list[str]
) -> None:
    """A bound of the paper, for pieces that are charged when they are begun."""
    shares: FairShares[str] = FairShares()
    shares.begin("ada")
    shares.begin("bob")
    had = {"ada": 0, "bob": 0, "third": 0}
    third = 0
    for number, piece in enumerate(pieces):
        match others[number] if number < len(others) else "":
            case "begin":
                shares.begin("third")
                third += 1
            case "end" if third:
                shares.end("third")
                third -= 1
            case _:
                pass
        who = next_of(shares, "ada", "bob", *(["third"] if third else []))
        shares.charge(who, piece)
        had[who] += piece
        assert abs(had["ada"] - had["bob"]) <= 2 * PIECE_MAX
