"""Members that answer the same are alike."""

import numpy as np
import pytest

from populace.policies.diversity.similarity import output_similarity


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
