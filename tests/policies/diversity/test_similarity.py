"""Who says the same is like, whose weights are the same as well; nothing larger than rank by rank is made."""

import numpy as np
import pytest

from populace.policies.diversity.similarity import Factors, output_similarity, weight_similarity


def adapter(seed: int, rank: int, names: tuple[str, ...] = ("q", "v")) -> Factors:
    source = np.random.default_rng(seed)
    return {name: (source.normal(size=(rank, 12)), source.normal(size=(9, rank))) for name in names}


def delta(adapter_: Factors) -> np.ndarray:
    made = {name: (b @ a).ravel() for name, (a, b) in adapter_.items()}
    return np.concatenate([made.get(name, np.zeros(9 * 12)) for name in ("q", "v")])


def test_the_cosine_is_that_of_the_products_also_of_other_ranks_and_layers() -> None:
    adapters = [adapter(0, 2), adapter(1, 5), adapter(2, 1, ("v",)), adapter(0, 2)]

    found = weight_similarity(adapters)

    deltas = np.array([delta(one) for one in adapters])
    norms = np.linalg.norm(deltas, axis=1)
    assert found == pytest.approx(deltas @ deltas.T / np.outer(norms, norms), abs=1e-9)
    assert found[0, 3] == pytest.approx(1)


def test_an_adapter_that_does_nothing_is_like_none_and_like_itself() -> None:
    nothing: Factors = {"q": (np.zeros((2, 12)), np.zeros((9, 2)))}

    assert weight_similarity([adapter(0, 2), nothing]) == pytest.approx(np.eye(2))


def test_outputs_are_alike_from_never_the_same_to_always() -> None:
    same, other = np.array([[0.7, 0.3], [0.2, 0.8]]), np.array([[1.0, 0.0], [0.0, 1.0]])

    found = output_similarity(np.array([same, same, other, other[:, ::-1]]))

    assert found[0, 1] == pytest.approx(1)
    assert found[2, 3] == pytest.approx(0)
    p, q = same[0], other[0]
    mixed = (p + q) / 2
    jsd = [float((one * np.log(one / mixed, where=one > 0, out=np.zeros(2))).sum()) for one in (p, q)]
    p2, q2 = same[1], other[1]
    mixed2 = (p2 + q2) / 2
    jsd2 = [float((one * np.log(one / mixed2, where=one > 0, out=np.zeros(2))).sum()) for one in (p2, q2)]
    assert found[0, 2] == pytest.approx(1 - (sum(jsd) + sum(jsd2)) / 4 / np.log(2), abs=1e-9)
    assert np.linalg.eigvalsh(found).min() > -1e-9
