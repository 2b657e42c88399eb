"""What exactly one process does: hold the lead, keep the connection, deliver the events.

The law of this folder: ``election``, ``sync`` and ``delivery`` do not know each other; ``leadership`` holds them and
``duty`` runs them. Nothing here is imported before a process stands for the lead, and what talks to FeatBit not before
it is elected; no thread that dies at any point leaves harm behind.
"""
