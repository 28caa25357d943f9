"""Pushes a process's Prometheus metrics by OTLP, the protocol of OpenTelemetry, to whoever collects them.

``push`` asks for the families again and again and sends them. It makes of them what the exporter of
OpenTelemetry's SDK takes, some of them a second time under the names of the conventions for generative AI,
and ``resource`` says whose they are.

These modules import OpenTelemetry, so a process that pushes nothing imports none of them.
"""
