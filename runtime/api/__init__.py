"""The JSON objects that the gateway answers with, as pydantic models: what ``/openapi.json`` describes.

``of`` makes an object from one of the values of ``actors``, ``value`` makes that value again in a client, so
that Python gives the same types over Ray and over HTTP. Times are whole seconds on the wire.

Neither FastAPI nor a model library is imported here. What the gateway accepts is in ``gateway/schema.py``.
"""
