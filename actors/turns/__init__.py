"""One turn: from what a caller asks for to a reply that is in the log.

``requests`` makes the request, for HTTP and Python alike. ``turn_director`` gets the grant, generates with as
much history as fits, and commits before the last delta leaves; ``running_reply`` is what its reader holds
meanwhile. ``choices`` are several replies side by side, ``deadlines`` bounds their time.

The host's side of a turn, grant and commit, is in ``actors/host``.
"""
