"""The body of an error, as OpenAI's."""

from populace.api.objects import ApiObject, example


class ErrorDetail(ApiObject):
    """What went wrong. ``code`` names the error, ``param`` the parameter that it is about.

    ``details`` are the error's own fields, from which clients in Python rebuild it.
    """

    message: str
    type: str
    param: str | None
    code: str
    request_id: str | None = None
    details: dict[str, str | int | float | None] = {}


class ErrorObject(ApiObject):
    """The body of every error."""

    model_config = example(
        error={
            "message": "Invalid value for `temperature`: Input should be less than or equal to 2.",
            "type": "invalid_request_error",
            "param": "temperature",
            "code": "invalid_request",
            "request_id": "req_6b1f0f6c1d9f4a0f8a52f1c3f7f2a9d4",
        }
    )

    error: ErrorDetail
