"""The operator's verbs: ``penstockd check``, ``doctor``, ``policy test`` and their like.

Each is a short-lived process beside penstockd, in ordinary Python, with the rights of whoever calls
it. They look through the same functions that penstockd uses (``supervisor.examination``,
``server.credentials``, ``policy.decision``), so that what they say is what it does. It imports
``supervisor``, ``server``, ``policy``, ``pki``, ``rpc`` and ``text``; nothing imports it but the
entry ``penstockd``. Begin with ``verb_table``.
"""
