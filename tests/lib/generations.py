"""What is in force in a server without files."""

from typing import Any

from penstock.policy.configuration import Config, parse_config
from penstock.policy.policy_file import Policy
from penstock.server.credentials import Credentials
from penstock.server.generation import Generation, InForce

CONFIG = parse_config(
    b'policy = "/p"\n[tls]\ncertificate = "/c"\nkey = "/k"\nclient_ca = "/a"\n', library=True
)


def generation(
    policy: Policy, credentials: Credentials | None = None, config: Config = CONFIG
) -> Generation:
    """One whose hash is the policy's; ``credentials`` None: nothing asks for them."""
    none: Any = credentials
    return Generation(config, policy, none, policy.hash)


def in_force(policy: Policy, credentials: Credentials | None = None) -> InForce:
    """A holder of one that nobody has replaced yet."""
    return InForce(generation(policy, credentials))
