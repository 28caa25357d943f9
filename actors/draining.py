"""A Populace that stops, and why the hosts of a machine cannot be handed over to another one."""

from populace.storage.records.errors import PopulaceError


class Draining(PopulaceError, retry_after_s=5.0):
    """``populace serve`` was told to stop: it finishes what runs, and takes nothing new."""

    code = "draining"

    def __str__(self) -> str:
        return (
            "This Populace finishes what runs and stops: it takes nothing new. Nothing was begun; try again."
        )


class DrainRefused(PopulaceError, logged=("node",)):
    """The hosts of a store node cannot go on elsewhere, and stay where they are."""

    code = "drain_refused"
    template = "{node} keeps its hosts: {reason}."

    node: str
    reason: str
