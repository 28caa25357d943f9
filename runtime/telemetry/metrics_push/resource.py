"""Whose telemetry it is, as OpenTelemetry names that."""

import os
import socket
from importlib import metadata

from opentelemetry.sdk.resources import OTELResourceDetector, Resource


def process_resource(process: str, number: int) -> Resource:
    """Describe this process, of which it is the ``number``-th of its kind.

    ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES`` win over what is found here.
    """
    found = Resource(
        {
            "service.name": "populace",
            "service.version": metadata.version("populace"),
            "service.instance.id": f"{socket.gethostname()}/{process}-{number}",
            "host.name": socket.gethostname(),
            "process.pid": os.getpid(),
            "populace.process": process,
            "populace.number": number,
        }
    )
    return found.merge(OTELResourceDetector().detect())
