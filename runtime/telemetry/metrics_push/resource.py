"""Whose telemetry it is, as OpenTelemetry names that."""

import os
import socket
from importlib import metadata
from uuid import uuid4

from opentelemetry.sdk.resources import OTELResourceDetector, Resource


def process_resource(process: str, number: int) -> Resource:
    """Describe this process, of which it is the ``number``-th of its kind.

    ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES`` win over what is found here.
    """
    found = Resource(
        {
            "service.name": "populace",
            "service.version": metadata.version("populace"),
            # Its counters begin with the process, so the next one must not continue this one's series.
            "service.instance.id": str(uuid4()),
            "host.name": socket.gethostname(),
            "process.pid": os.getpid(),
            "populace.process": process,
            "populace.number": number,
        }
    )
    return found.merge(OTELResourceDetector().detect())
