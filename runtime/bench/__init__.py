"""``populace bench``: what Populace does beside the other way of doing it, in one run, with the aims.

One module for each bench; ``report`` prints the table and the JSON object, ``processes`` and
``engine_process`` keep the sides apart. Everything that only a bench needs lives here, torch and vLLM
included.

Nothing outside imports from here but the command line, examples and tests.
"""
