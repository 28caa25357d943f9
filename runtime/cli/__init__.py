"""The ``populace`` command: one module for each group of commands.

A command parses, calls a client, the gateway or the cluster, and prints: results to stdout, progress and
errors to stderr (``console``), ``--json`` for programs. Heavy imports are inside the functions, so that
``--help`` is quick.

A command decides nothing that a Python caller would not get as well.
"""
