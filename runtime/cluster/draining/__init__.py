"""Ends work without loss: of one store node, whose hosts go on elsewhere, and of all before a stop.

``store_hosts`` finds the store nodes and which hosts each has, ``drain`` moves the hosts of one. A machine
that leaves with ``populace node join --store`` is drained as with the command. ``finishing`` is what
``populace serve`` does when it is told to stop: nothing new begins, and what runs has its time.
"""
