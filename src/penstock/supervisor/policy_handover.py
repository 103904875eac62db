"""A policy as the child that has read it hands it over: parsed, so that the loop need not parse it.

Of 20,000 clients parsing takes half a second, for which nothing else of the supervisor would go on.
The bytes are those of ``pickle``, which can run any code as they are read: that is why only what
this module's caller has written itself, in a child of its own, comes here, which has all rights of
this process. And so that a bug there does not become one here, no names are looked up but those of
the policy's own classes.
"""

import io
import pickle
from typing import Final

from ..policy.policy_file import Policy

_OWN: Final = Policy.__module__.rpartition(".")[0]
_BUILT_IN: Final = frozenset({("builtins", "frozenset"), ("builtins", "set")})


class HandoverError(Exception):
    """These bytes are no policy."""


class _PolicyReader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        """Only of the policy's modules. Raises HandoverError."""
        if module.startswith(f"{_OWN}.") and "." not in name:
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__ == module:
                return found
        if (module, name) in _BUILT_IN:
            return super().find_class(module, name)
        raise HandoverError(f"{module}.{name} is no part of a policy")


def written(policy: Policy) -> bytes:
    """What ``read`` makes the same policy of. Raises HandoverError if it would refuse that: here,
    where it costs a child, and not in the process that holds the jobs."""
    data = pickle.dumps(policy, pickle.HIGHEST_PROTOCOL)
    read(data)
    return data


def read(data: bytes) -> Policy:
    """A policy that a child of this process has ``written``. Raises HandoverError."""
    policy = _PolicyReader(io.BytesIO(data)).load()
    if not isinstance(policy, Policy):
        raise HandoverError("this is no policy")
    return policy
