"""What threads share."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from nla.numerics.threads import computed_once


@pytest.mark.parametrize("arguments", [[(3, 4)] * 6, [(3, 4), (4, 3)] * 3])
def test_threads_that_come_together_compute_once(arguments):
    calls, together = [], Barrier(len(arguments))

    @computed_once
    def area(m, n):
        calls.append((m, n))
        return m * n

    def asked(shape):
        together.wait()
        return area(*shape)

    with ThreadPoolExecutor(len(arguments)) as pool:
        assert set(pool.map(asked, arguments)) == {12}
    assert sorted(calls) == sorted(set(arguments))
