"""The error of a gateway that cannot pass a request on to one with the store's files."""

from populace.storage.records.errors import PopulaceError


class GatewayUnavailable(PopulaceError, retry_after_s=2.0):
    """A request needs the store's files, and no gateway on the machine that has them answers."""

    code = "gateway_unavailable"
    template = "It needs a gateway on the machine that has the store's files: {reason}."

    reason: str
