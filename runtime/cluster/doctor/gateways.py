"""Checks the gateways of the Populace that runs here: those that answer, and those that should."""

from typing import Any

import httpx

from populace.cluster.doctor.checks import Check

NAME = "gateways"
MISSING = "gateway "
"""How ``degraded`` of ``/readyz`` names one that does not answer."""
ANSWER_SECONDS_MAX = 20.0


def check_gateways(url: str) -> Check:
    """Ask one of the gateways at this address for all of them."""
    remedy = "`populace logs --process gateway` says why; Ray Serve starts it again"
    try:
        answer = httpx.get(f"{url}/readyz", timeout=ANSWER_SECONDS_MAX, trust_env=False)
        ready: dict[str, Any] = answer.json()
        answering: dict[str, str] = ready["gateways"]
        missing = sorted(name for name in ready["degraded"] if name.startswith(MISSING))
    except (httpx.HTTPError, ValueError, KeyError) as error:
        return Check(NAME, "fail", f"none answers at {url}: {type(error).__name__}", remedy)
    detail = ", ".join(f"{number} at {address}" for number, address in answering.items())
    if missing:
        return Check(NAME, "fail", f"{', '.join(missing)} does not answer; {detail}", remedy)
    return Check(NAME, "ok", detail)
