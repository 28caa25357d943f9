"""Whose telemetry it is, as OpenTelemetry names that. Imported only where something is exported."""

import os
import socket
from importlib import metadata

from opentelemetry.sdk.resources import OTELResourceDetector, Resource

from populace.actors import span_names as names


def process_resource(process: str, number: int) -> Resource:
    """Describe this process, of which it is the ``number``-th of its kind.

    ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES`` win over what is found here.
    """
    found = Resource(
        {
            names.SERVICE_NAME: "populace",
            names.SERVICE_VERSION: metadata.version("populace"),
            names.SERVICE_INSTANCE: f"{socket.gethostname()}/{process}-{number}",
            "host.name": socket.gethostname(),
            names.PROCESS_ID: os.getpid(),
            names.PROCESS: process,
            names.NUMBER: number,
        }
    )
    return found.merge(OTELResourceDetector().detect())
