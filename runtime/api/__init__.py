"""The JSON objects that the gateway returns, as pydantic models, which ``/openapi.json`` describes.

``of`` makes an object from a value of ``actors``, ``value`` restores that value in a client, so that Python
returns the same types over Ray and over HTTP. Times are whole seconds on the wire.

Neither FastAPI nor a model library is imported here. The bodies that the gateway accepts are in
``gateway/schema.py``.
"""
