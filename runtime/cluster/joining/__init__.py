"""``populace node join``: makes this machine a node of a cluster that another one serves.

``cluster_note`` is what a cluster says of itself to those who join, ``joined_note`` what a machine that
joined notes for its own doctor, and ``raylet`` Ray's processes of such a machine. ``connecting`` is for
commands that run on a machine of a cluster and ask it something.
"""
