# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""What another node answers is returned, and what keeps it from answering is named."""

import os
import time
from typing import Any

import pytest
import ray

from populace.actors.draining import DrainRefused
from populace.cluster.ray_answers import answer_of
from populace.storage.records.errors import MasterKeyRefused
from tests.limits import HANG_SECONDS

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("one_ray")]


class Other:
    def answers(self) -> str:
        return "yes"

    def lacks_its_key(self) -> None:
        raise MasterKeyRefused("/safe/key", "it is absent")

    def has_a_bug(self) -> None:
        raise KeyError("ada")

    def sleeps(self) -> None:
        time.sleep(HANG_SECONDS)

    def ends(self) -> None:
        os._exit(1)


def refusal(reason: str) -> DrainRefused:
    return DrainRefused("attic", f"it does not help: {reason}")


def test_an_answer_is_returned_or_why_there_is_none_is_said() -> None:
    remote: Any = ray.remote(Other)
    other = remote.options(num_cpus=0).remote()
    assert answer_of(other.answers.remote(), HANG_SECONDS, refusal) == "yes"
    with pytest.raises(DrainRefused, match=r"help: .*/safe/key.* it is absent"):
        answer_of(other.lacks_its_key.remote(), HANG_SECONDS, refusal)
    with pytest.raises(MasterKeyRefused, match="/safe/key"):
        answer_of(other.lacks_its_key.remote(), HANG_SECONDS, refusal, passes_own=True)
    with pytest.raises(DrainRefused, match=r"KeyError\('ada'\)"):
        answer_of(other.has_a_bug.remote(), HANG_SECONDS, refusal, passes_own=True)
    with pytest.raises(DrainRefused, match="no answer for 1 s"):
        answer_of(remote.options(num_cpus=0).remote().sleeps.remote(), 1.0, refusal)
    with pytest.raises(DrainRefused, match="ActorDiedError; try again"):
        answer_of(other.ends.remote(), HANG_SECONDS, refusal)
