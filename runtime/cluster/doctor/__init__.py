"""``populace doctor``: whether this machine, its settings and its cluster are as they should be.

Each check says what it found and, if that is wrong, what to do. A check changes nothing. ``doctor`` has
those of this machine, ``nodes`` those of a cluster, ``configuration_check`` that of the settings.
"""
