"""Logs, traces, and metrics by OTLP of all processes of a Populace.

``options`` travel in the options of every process, and ``log_setup`` starts its log and writes it: ``queued``
takes the records from whoever logs, ``lines`` and ``wording`` make of each a line without people's words.
``reading`` merges the files again, and ``request_lines`` finds one request in them. ``calls`` is the request
for which a task works, which crosses processes with each call, and ``traceparent`` how its span is written.
Traces are made in ``tracing``, ``trace_files`` reads them, and ``request_trace`` finds one request in them;
``file_search`` keeps both searches for a request within limits. ``metrics_push`` pushes Prometheus' families,
whoever has made them.

Nothing here knows a host, an engine or a gateway, so that all of them may import it.
"""
