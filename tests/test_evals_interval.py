import pytest
from scipy.stats import binomtest

from scorefield.evals.interval import wilson


@pytest.mark.parametrize(("right", "n"), [(0, 1), (0, 100), (1, 3), (50, 100), (97, 100), (600, 600)])
def test_the_interval_is_wilsons(right: int, n: int) -> None:
    share = wilson(right, n)
    expected = binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert share.rate == right / n
    assert share.n == n
    assert share.low == pytest.approx(expected.low, abs=1e-7)
    assert share.high == pytest.approx(expected.high, abs=1e-7)


@pytest.mark.parametrize(("right", "n"), [(0, 0), (3, 2), (-1, 5)])
def test_what_is_no_share_is_refused(right: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"{right} right of {n}"):
        wilson(right, n)
