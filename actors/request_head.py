"""The refusal of a request that is too large before its body begins."""

from populace.storage.records.errors import PopulaceError


class RequestHeadTooLarge(PopulaceError):
    """A request has a longer line, longer headers or more of them than a gateway takes."""

    code = "request_headers_too_large"
    template = "Its line and headers have over {bytes_max} bytes, or there are over {headers_max} headers."

    bytes_max: int
    headers_max: int
