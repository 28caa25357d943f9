"""How many threads a test's engines have, and how long a test waits before it calls something hung.

No test measures with these: what they wait for takes a small part of them on two busy cores, so a machine
that is many times slower still passes, and only what would never end fails. Each is below the limit that
pytest sets for the whole test, so that the message is the test's own.
"""

import os

from populace.settings.machine import physical_cores

THREADS = max(1, physical_cores() // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
"""Of each engine: the cores, shared among pytest's processes.

Two engines that have two threads each on two cores wait for each other at every product of every layer.
"""

HANG_SECONDS = 300.0
"""For what a thread or a child process does at once."""

ENGINE_HANG_SECONDS = 1200.0
"""For what starts an engine or a Ray, or waits for a model's replies."""

ENGINE_TEST_SECONDS = 1800.0
"""For a whole test that is marked ``engine``, ``ray`` or ``client``; the others' is in ``pyproject.toml``."""
