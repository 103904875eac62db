"""penstock: granted commands on a Linux server, for clients that must not get a shell there."""

__version__ = "0.2.0.dev0"
