"""The log: lines that never block, a child that writes a file, the server's lines relayed.

Imports ``kernel``. Begin with ``log_lines``.
"""
