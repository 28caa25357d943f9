"""Renders objects of the API as responses."""

from fastapi.responses import Response

from populace.api.objects import ApiObject


def answer(made: ApiObject, *, status_code: int = 200) -> Response:
    """Render an object. Routes return this and name the object's class as their response model.

    FastAPI then describes it in ``/openapi.json`` and does not validate it once more.
    """
    return Response(made.model_dump_json(), status_code=status_code, media_type="application/json")
