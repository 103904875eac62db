"""A policy from the child that has read it: the same one, and nothing else."""

import dataclasses
import os
import pickle
from importlib.resources import files
from typing import Any

import pytest
from cookbook import CLASSES, of_page

from penstock.policy.grammar import Grammar
from penstock.policy.policy_changes import policy_changes
from penstock.policy.policy_file import Policy, parse_policy
from penstock.supervisor import policy_handover
from penstock.supervisor.policy_handover import HandoverError

MINIMAL = parse_policy(b"")


def policies() -> list[bytes]:
    """The samples, and the recipes, which have every kind of slot."""
    places = files("penstock") / "policies"
    samples = [(places / f"sample-{form}.toml").read_bytes() for form in ("root", "user")]
    return [*samples, "\n".join([CLASSES, *(each.text for each in of_page("toml"))]).encode()]


def parts(value: Any) -> Any:
    """Everything in it, also what takes no part in comparing."""
    if dataclasses.is_dataclass(value):
        return [
            (type(value), each.name, parts(getattr(value, each.name)))
            for each in dataclasses.fields(value)
        ]
    if isinstance(value, dict):
        return [(key, parts(each)) for key, each in value.items()]
    if isinstance(value, Grammar):
        return [parts(value.slots), parts(tuple(value._leaves)), value._closures]
    if isinstance(value, tuple):
        return [parts(each) for each in value]
    return value


@pytest.mark.parametrize("data", policies(), ids=["root", "user", "recipes"])
def test_the_same_policy_comes_out(data: bytes) -> None:
    """In all that it grants, patterns and all."""
    policy = parse_policy(data)
    found = policy_handover.read(policy_handover.written(policy))
    assert parts(found) == parts(policy)
    assert policy_changes(policy, found) == policy_changes(found, policy) == []


class Runs:
    """What would run a program as it is read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("true",)


@pytest.mark.parametrize(
    "value", [Runs(), parse_policy, [MINIMAL], Policy], ids=["program", "function", "list", "class"]
)
def test_nothing_else_does(value: object) -> None:
    """No function is called, also none of the policy's own, and what is no policy is refused."""
    data = pickle.dumps(value)
    with pytest.raises(HandoverError):
        policy_handover.read(data)


def test_what_could_not_be_read_is_not_written() -> None:
    """Its process ends then, and the one with the jobs refuses the reload."""
    foreign = dataclasses.replace(MINIMAL, commands={"true": object()})  # type: ignore[dict-item]
    with pytest.raises(HandoverError, match=r"builtins\.object is no part"):
        policy_handover.written(foreign)
