"""Starts and stops a whole Populace: Ray, hosts, engine replicas, trainer, gateway.

``serve`` does what ``populace serve`` does, from the first check to the last process, ``ray_parts`` has the
parts that are Ray's, ``nodes`` says on which machines they run. ``joining`` does what ``populace node join``
does on another machine, and ``doctor`` has the checks of a machine.

Only the command line starts a cluster; the processes that run in one do not use this package.
"""
