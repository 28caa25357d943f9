"""A law that accuracies follow is found again, with an interval around it."""

import numpy as np
import pytest

from populace.policies.diversity.fits import logarithmic_fit, saturating_fit

SIZES = (1, 2, 4, 8, 16, 32)


def draws(means: np.ndarray, noise: float = 0.01) -> np.ndarray:
    return means + np.random.default_rng(0).normal(scale=noise, size=(30, len(means)))


def test_a_logarithm_is_found_again() -> None:
    fit = logarithmic_fit(SIZES, draws(0.386 + 0.0172 * np.log(SIZES)))

    for name, true in (("a", 0.386), ("b", 0.0172)):
        value, low, high = fit.parameters[name]
        assert value == pytest.approx(true, abs=3e-3)
        assert low < value < high
        assert high - low < 0.02
    assert fit.residual < 0.005


def test_a_limit_is_found_again_where_a_logarithm_does_not_fit() -> None:
    accuracies = draws(0.6 - 0.2 * np.asarray(SIZES, float) ** -1.0, 0.002)

    saturating, logarithmic = saturating_fit(SIZES, accuracies), logarithmic_fit(SIZES, accuracies)

    assert saturating.parameters["c"][0] == pytest.approx(0.6, abs=5e-3)
    assert saturating.parameters["e"][0] == pytest.approx(1.0, abs=0.1)
    assert saturating.residual < logarithmic.residual / 5


def test_where_more_members_are_worse_the_limit_is_level() -> None:
    fit = saturating_fit(SIZES, draws(0.5 - 0.02 * np.log(SIZES)))

    assert fit.parameters["d"][0] == 0
    assert fit.parameters["c"][0] == pytest.approx(0.5 - 0.02 * np.log(SIZES).mean(), abs=5e-3)


@pytest.mark.parametrize("sizes", [(1, 2), (0, 1, 2)])
def test_too_few_sizes_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="sizes"):
        saturating_fit(sizes, np.zeros((3, len(sizes))))
