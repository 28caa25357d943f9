"""The OpenTelemetry resource of a process. Imported only where something is exported."""

import os
import socket
from importlib import metadata

from opentelemetry.sdk.resources import OTELResourceDetector, Resource

from populace.actors import span_names as names


def process_resource(process: str, number: int) -> Resource:
    """Describe this process, of which it is the ``number``-th of its kind.

    ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES`` win over what is found here, but not over what
    tells the processes of a Populace apart: they have one environment, and traces are read by it.
    """
    host = socket.gethostname()
    found = Resource(
        {
            names.SERVICE_NAME: "populace",
            names.SERVICE_VERSION: metadata.version("populace"),
            names.HOST_NAME: host,
            names.PROCESS_ID: os.getpid(),
        }
    )
    own = Resource(
        {
            names.SERVICE_INSTANCE: f"{host}/{process}-{number}",
            names.PROCESS: process,
            names.NUMBER: number,
        }
    )
    return found.merge(OTELResourceDetector().detect()).merge(own)
