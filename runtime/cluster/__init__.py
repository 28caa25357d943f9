"""Starts and stops a whole Populace: Ray, hosts, engine replicas, trainer, gateway.

``serve`` does what ``populace serve`` does, from the first check to the last process, ``ray_parts`` has the
parts that are Ray's, ``doctor`` the checks of a machine, each with what to do when it fails.

Only the command line starts a cluster; the processes that run in one do not use this package.
"""
