"""``populace bench residency-policy``: which adapters stay in memory, for recorded and made requests.

``traces`` makes and reads the requests, ``bench`` plays them on the policies alone. One of the policies
knows the future, so that the table says how far the others are from the best that is possible. No engine
runs.
"""
