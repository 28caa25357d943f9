"""``populace bench soak``: a population that talks for long, and whether anything grows without bound.

``population`` talks, ``samples`` are what is measured meanwhile. ``bench`` puts them together: hosts in this
process, with limits that are reached all the time.
"""
