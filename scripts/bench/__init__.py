"""``populace bench``: measures Populace beside an alternative in the same run, and compares it with its aims.

Each bench is a module of its name, or a package whose ``bench`` it is; ``report`` prints the table or the
JSON object, and ``processes`` and ``engine_process`` run the sides in separate processes. All that only a
bench needs is here, with torch and vLLM.

Only the command line, examples and tests import from here.
"""
