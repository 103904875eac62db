"""One job of the supervisor's: checked, started, held until it is released.

Highest room of the supervisor: it imports any other, and ``policy``. Begin with ``supervised_job``;
``spawn`` is the way from fork to exec, ``start_check`` decides what becomes of a START.
"""
