"""Ends work without loss: of one store node, whose hosts go on elsewhere, and of all before a stop.

``drain`` moves the hosts of one store node. A machine that leaves with ``populace node join --store`` is
drained as with the command. ``finishing`` is what ``populace serve`` does when it is told to stop: nothing
new begins, and what runs has its time.
"""
