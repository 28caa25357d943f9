"""Fits curves to the accuracies of k members: one that grows without bound, and one that saturates.

The published law is acc ≈ 0.386 + 0.0172 ln k. Exchangeable voters together can do no better than the
majority of the population, so a logarithmic law has to end; both are fitted, and reported.
Shape suffixes: D = draws, S = sizes, B = resamples of the draws, P = parameters, E = exponents.
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
    means_1S = accuracies_DS.mean(0, keepdims=True)
    found_1P, predicted_1S = fit(sizes_S, means_1S)
    again_BD = np.array([source.integers(draws, size=draws) for _ in range(BOOTSTRAPS)])
    again_BP = fit(sizes_S, accuracies_DS[again_BD].mean(1))[0]
    low, high = np.quantile(again_BP, (0.025, 0.975), axis=0)
    parameters = {
        name: (float(found_1P[0, at]), float(low[at]), float(high[at])) for at, name in enumerate(names)
    }
    return Fit(parameters, float(np.sqrt(((predicted_1S - means_1S) ** 2).mean())))


def _logarithmic(sizes_S: Floats, means_BS: Floats) -> tuple[Floats, Floats]:
    design_SP = np.column_stack([np.ones_like(sizes_S), np.log(sizes_S)])
    found_BP = means_BS @ np.linalg.pinv(design_SP).T
    return found_BP, found_BP @ design_SP.T


def _saturating(sizes_S: Floats, means_BS: Floats) -> tuple[Floats, Floats]:
    columns_ES = -(sizes_S ** -EXPONENTS[:, None])
    design_ESP = np.stack([np.ones_like(columns_ES), columns_ES], axis=2)
    found_EBP = means_BS @ np.linalg.pinv(design_ESP).transpose(0, 2, 1)
    # If more members are worse, the curve is level: it has no limit above them.
    level_BP = np.column_stack([means_BS.mean(1), np.zeros(len(means_BS))])
    found_EBP = np.where(found_EBP[:, :, 1:] < 0, level_BP, found_EBP)
    predicted_EBS = found_EBP @ design_ESP.transpose(0, 2, 1)
    best_B = ((predicted_EBS - means_BS) ** 2).sum(2).argmin(0)
    each_B = np.arange(len(means_BS))
    found_BP = np.column_stack([found_EBP[best_B, each_B], EXPONENTS[best_B]])
    return found_BP, predicted_EBS[best_B, each_B]
