"""The result of one check of the doctor."""

from typing import Literal, NamedTuple

Status = Literal["ok", "warn", "fail"]


class Check(NamedTuple):
    """The result of one check. ``remedy`` says what to do, and is empty where nothing is needed."""

    name: str
    status: Status
    detail: str
    remedy: str = ""
