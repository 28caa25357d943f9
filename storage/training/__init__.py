"""Training that was interrupted: one encrypted session file for each job, and the errors of jobs.

A session holds what a trainer needs to go on: parameters, the optimiser's state, the place in
the data. What is in it is known in ``runtime/learning/session_file.py``; here it is bytes.

The jobs' rows are in ``storage/rows/jobs.py``.
"""
