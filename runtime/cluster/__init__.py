"""Starting and stopping all of it: Ray, hosts, engine replicas, trainer, gateway.

``serve`` is what ``populace serve`` does from the first check to the last process, ``ray_parts`` the parts
that are Ray's, ``doctor`` the checks of a machine with what to do when one fails.

Nothing but the command line starts a cluster; what runs in one knows nothing of this package.
"""
