"""The lower revision that a trained one contains, as its hyper-parameters say it."""

from collections.abc import Mapping


def lower_of(hyper_parameters: Mapping[str, object]) -> str | None:
    """Return the digest of the revision on which a training with these options was, None without one."""
    on = hyper_parameters.get("on")
    return on if isinstance(on, str) else None
