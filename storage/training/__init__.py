"""Interrupted trainings: one encrypted session file for each job, and the errors of jobs.

A session holds what a trainer needs to resume: parameters, the optimiser's state, the position in
the data. Its format is in ``runtime/learning/session_file.py``; here it is bytes.

The jobs' rows are in ``storage/rows/jobs.py``.
"""
