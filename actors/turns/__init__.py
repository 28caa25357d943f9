"""One turn: from a caller's request to a reply in the log.

``requests`` makes the request, for HTTP and Python alike. ``turn_director`` gets the grant, generates with as
much history as fits, and commits before the last delta is sent; ``running_reply`` is what its reader holds
meanwhile. ``peeks`` makes a reply without a turn. ``choices`` generates several replies side by side,
``deadlines`` bounds their time.

The host's side of a turn, grant and commit, is in ``actors/host``.
"""
