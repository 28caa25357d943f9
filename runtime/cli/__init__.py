"""The ``populace`` command: one module for each group of commands.

A command parses, calls a client, the gateway or the cluster, and prints: results to stdout, progress and
errors to stderr (``console``), ``--json`` for programs. Heavy imports are inside the functions, so that
``--help`` is quick.

Nothing is decided here that a Python caller would miss.
"""
