"""The traces of a Populace: what the processes did for a request, and when.

``spans`` is the door for whoever has something to record: ``TRACER``, which does nothing until ``setup`` has
started it. ``provider`` starts OpenTelemetry's SDK and is imported only then: while tracing is off, Populace
loads nothing of it, though Ray Serve does. ``kept_parts`` decides which spans are exported, ``export_queue``
brings them to an exporter on a thread, and ``exporters`` writes them as lines of JSON, or sends them by OTLP.

Only ``metrics_push`` imports ``opentelemetry`` too. Reading what was written is ``telemetry/trace_files.py``.
"""
