"""The store's operations as pure functions of a transaction: models, turns, feedback, jobs, members.

``ledger`` creates models and appends turns, ``log`` drops the old end, ``forgetting`` redacts, ``portable``
exports and imports a model, ``integrity`` has the laws that rows keep among themselves. A transaction is
LMDB's or one in memory.

No file is opened here.
"""
