"""Asking a population: which members answer, how their votes become one, and what may be disclosed of it.

``aggregator`` chooses members and leads a question, ``ballot`` asks them, ``ensemble`` adds up. ``report``
describes a population. The mathematics is in ``policies/diversity``.

A member's own words leave only as ``policies/diversity/disclosure`` allows.
"""
