"""The store's verbs as pure functions of a transaction: models, turns, feedback, jobs, members.

``ledger`` creates models and appends turns, ``log`` drops old ends, ``forgetting`` redacts, ``portable``
takes a model out and in, ``integrity`` has the laws that rows keep among themselves. A transaction is LMDB's
or one in memory.

No file is opened here.
"""
