"""Cores, BLAS threads and devices: how many threads each matrix gets."""

import os
from contextlib import contextmanager
from functools import lru_cache, wraps
from threading import RLock

import torch
from threadpoolctl import threadpool_limits


def cores():
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@contextmanager
def one_thread_each(workers, available=None):
    """BLAS threads such that `workers` matrices at once fill the `available` cores: one each, more if there are few."""
    threads, before = max(1, (available or cores()) // workers), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads):
            yield
    finally:
        torch.set_num_threads(before)


def device(name):
    """A device's own name: ``auto`` is a CUDA device if there is one."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


class once:
    """functools.cached_property without its lock, which all instances share before Python 3.12: threads would wait."""

    def __init__(self, function):
        self.function, self.__doc__ = function, function.__doc__

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        value = instance.__dict__[self.function.__name__] = self.function(instance)
        return value


def computed_once(function):
    """`function`, called once for the same arguments: the threads of a scan come to a new shape together."""
    cached, lock = lru_cache(maxsize=256)(function), RLock()

    @wraps(function)
    def once(*arguments, **named):
        with lock:
            return cached(*arguments, **named)

    return once


@contextmanager
def one_thread():
    """For LAPACK: below side 2,000 eigenvalues gain next to nothing from threads, which meet at a barrier per column.

    Where another program keeps a core busy, all of them wait for that one: seconds for what takes milliseconds.
    """
    before = torch.get_num_threads()
    if before > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if before > 1:
            torch.set_num_threads(before)
