"""The confidence interval of a counted share."""

import math
from typing import NamedTuple


class Share(NamedTuple):
    """A share counted over n trials, and the interval that holds the true one with 95 % confidence."""

    rate: float
    n: int
    low: float
    high: float


def wilson(right: int, n: int, z: float = 1.959964) -> Share:
    """The share right / n with its score interval (Wilson 1927, eq. 2); ValueError unless 0 <= right <= n, n > 0."""
    if not 0 <= right <= n or n == 0:
        raise ValueError(f"{right} right of {n} is not a share")
    rate = right / n
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    swing = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return Share(rate, n, max(0.0, middle - swing), min(1.0, middle + swing))
