"""Within a training, freed memory is used again; after it, the system has it back."""

import platform
import resource

import psutil
import pytest
import torch

from populace.learning.trainer import keeping_freed_memory

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is set up")

WORDS = 2**24
"""64 MiB in float32: more than glibc ever keeps by itself."""

PAGES = WORDS * 4 // resource.getpagesize()


def faults_of_an_operation() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(WORDS).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_an_operation_gets_the_memory_of_the_one_before_it_only_in_a_training() -> None:
    # Given back first: what other tests freed in the midst of the heap may be as large as the operation.
    with keeping_freed_memory():
        pass
    outside = faults_of_an_operation()
    with keeping_freed_memory():
        faults_of_an_operation()
        inside = faults_of_an_operation()

    assert outside > PAGES / 1000
    assert inside < outside / 10


def resident_in_a_failing_training(process: psutil.Process) -> None:
    with keeping_freed_memory():
        faults_of_an_operation()
        raise Failing(process.memory_info().rss)


class Failing(Exception):
    """Says how much memory the process had when it failed."""


def test_what_was_kept_goes_back_to_the_system_also_after_an_error() -> None:
    process = psutil.Process()
    before = process.memory_info().rss

    with pytest.raises(Failing) as failed:
        resident_in_a_failing_training(process)

    assert failed.value.args[0] - before > WORDS * 4 * 0.9
    assert process.memory_info().rss - before < WORDS * 4 * 0.1
