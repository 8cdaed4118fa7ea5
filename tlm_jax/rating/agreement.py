"""How far raters agree: Krippendorff's alpha, by the library of that name."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from tlm_jax.errors import UserError

_RESAMPLES = 300


def alpha(ratings: Float[np.ndarray, "raters items"], num_values: int) -> float | None:
    """Returns Krippendorff's alpha of ordered values: 1 is agreement, 0 what chance gives.

    alpha = 1 - D_o / D_e, the observed over the expected disagreement of pairs of ratings of an
    item, where values are as far apart as ratings between them are many.

    Args:
      ratings: ranks from 1; NaN where there is none.
      num_values: of the scale.

    Returns:
      None where no item has two ratings, or all of those that do have the same one: then there is
      nothing that chance could have got wrong.

    Source: K. Krippendorff, Content Analysis (2004), chapter 11.
    """
    shared = ratings[:, (~np.isnan(ratings)).sum(axis=0) > 1]
    values = shared[~np.isnan(shared)]
    if not values.size or np.all(values == values[0]):
        return None
    library = _library()
    found = library.alpha(
        reliability_data=shared,
        level_of_measurement="ordinal",
        value_domain=np.arange(1.0, num_values + 1),
    )
    return float(found)


def alpha_interval(
    ratings: Float[np.ndarray, "raters items"], num_values: int
) -> tuple[float, float] | None:
    """Returns a 95 % interval of alpha, by a percentile bootstrap over items with two ratings.

    None where there are fewer than two such items, or where resamples leave nothing to disagree on.
    """
    shared = ratings[:, (~np.isnan(ratings)).sum(axis=0) > 1]
    items = shared.shape[1]
    if items < 2:
        return None
    generator = np.random.default_rng(0)
    drawn = [
        alpha(shared[:, generator.integers(0, items, items)], num_values) for _ in range(_RESAMPLES)
    ]
    known = [value for value in drawn if value is not None and math.isfinite(value)]
    if len(known) < _RESAMPLES / 2:
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def _library():
    try:
        import krippendorff
    except ImportError as error:
        raise UserError("agreement needs krippendorff: pip install 'tlm_jax[rate]'") from error
    return krippendorff
