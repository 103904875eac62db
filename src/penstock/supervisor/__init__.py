"""The supervisor: the privileged, single-threaded parent of the server and of every job.

It runs as a directory of its own (``python -I -S -E <this directory>``) on the
standard library alone, so that nothing an unprivileged user can install is ever
imported by root. Modules that both sides need (policy, grammar, limits,
config, protocol) live here and are pure; penstock imports them from here and this
package never imports penstock.
"""
