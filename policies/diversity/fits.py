"""Fits curves to the accuracies of k members: one that grows without bound, and one that saturates.

The published law is acc ≈ 0.386 + 0.0172 ln k. Exchangeable voters together can do no better than the
majority of the population, so a logarithmic law has to end; both are fitted, and reported.
Shape suffixes: D = draws, S = sizes.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BOOTSTRAPS = 1000
EXPONENTS = np.linspace(0.05, 4.0, 80)


class Fit(NamedTuple):
    """A fitted curve: ``parameters`` by name, each with its middle 95 % over resamples of the draws.

    ``residual`` is the root mean square over the sizes, in the accuracy's unit.
    """

    parameters: dict[str, tuple[float, float, float]]
    residual: float


def logarithmic_fit(sizes: Sequence[int], accuracies_DS: Floats, *, seed: int = 0) -> Fit:
    """a + b ln k, by least squares through the means."""
    return _fitted(_logarithmic, ("a", "b"), sizes, accuracies_DS, seed)


def saturating_fit(sizes: Sequence[int], accuracies_DS: Floats, *, seed: int = 0) -> Fit:
    """c − d k^(−e) with d ≥ 0 and e among ``EXPONENTS``: c is the limit of a large population.

    For each exponent c and d are linear; the exponent with the least squares is taken.
    """
    return _fitted(_saturating, ("c", "d", "e"), sizes, accuracies_DS, seed)


def _fitted(
    fit: Callable[[Floats, Floats], tuple[Floats, Floats]],
    names: Sequence[str],
    sizes: Sequence[int],
    accuracies_DS: Floats,
    seed: int,
) -> Fit:
    if len(sizes) < len(names) or min(sizes) < 1:
        raise ValueError(f"{len(names)} parameters need as many sizes of at least 1, not {list(sizes)}")
    source = np.random.default_rng(seed)
    sizes_S, draws = np.asarray(sizes, float), len(accuracies_DS)
    found, predicted_S = fit(sizes_S, accuracies_DS.mean(0))
    again = np.array(
        [
            fit(sizes_S, accuracies_DS[source.integers(draws, size=draws)].mean(0))[0]
            for _ in range(BOOTSTRAPS)
        ]
    )
    low, high = np.quantile(again, (0.025, 0.975), axis=0)
    parameters = {name: (float(found[at]), float(low[at]), float(high[at])) for at, name in enumerate(names)}
    return Fit(parameters, float(np.sqrt(((predicted_S - accuracies_DS.mean(0)) ** 2).mean())))


def _logarithmic(sizes_S: Floats, means_S: Floats) -> tuple[Floats, Floats]:
    design = np.column_stack([np.ones_like(sizes_S), np.log(sizes_S)])
    found = np.asarray(np.linalg.lstsq(design, means_S, rcond=None)[0], float)
    return found, design @ found


def _saturating(sizes_S: Floats, means_S: Floats) -> tuple[Floats, Floats]:
    best: tuple[float, Floats, Floats] | None = None
    for exponent in EXPONENTS:
        design = np.column_stack([np.ones_like(sizes_S), -(sizes_S**-exponent)])
        found = np.linalg.lstsq(design, means_S, rcond=None)[0]
        if found[1] < 0:
            # If more members are worse, the curve is level: it has no limit above them.
            found = np.array([means_S.mean(), 0.0])
        predicted_S = design @ found
        error = float(((predicted_S - means_S) ** 2).sum())
        if best is None or error < best[0]:
            best = (error, np.array([*found, exponent]), predicted_S)
    assert best is not None
    return best[1], best[2]
