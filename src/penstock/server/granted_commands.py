"""Granted commands as protobuf messages (pure): what a client may type, and what its jobs may use.

Of a command's entry in the policy a client is told what its starts, its jobs and their refusals
would tell it anyway. What the policy alone needs stays here: the user and the groups of a job, its
workdir, the values of its environment, the words that the policy puts before the client's
arguments (``fixed``), and which users may own the directories on a path.
"""

from typing import Final

from ..jobs.output.output_quota import OutputBound
from ..policy.limit_classes import LimitClass
from ..policy.policy_file import Command
from ..policy.signal_names import signal_name
from ..policy.slots import (
    EnumSlot,
    IntSlot,
    LiteralSlot,
    OptionalSlot,
    PathSlot,
    PatternSlot,
    RepeatSlot,
    Slot,
)
from ..policy.usage_lines import usage_lines
from ..proto import command_pb2 as pb
from .convert import limits_message

# Far beyond what a person can choose among, or a shell shows.
MAX_CHOICES: Final = 1000
# Of all slots of a command together, because a policy may have some hundred thousand.
MAX_CHOICES_OF_ALL: Final = 4000


def command_message(command: Command, limit_class: LimitClass) -> pb.GrantedCommand:
    """What the client may type after the command's name, and the limits of its jobs."""
    control = command.control
    bound = OutputBound(command.output_bytes, command.when_full)
    message = pb.GrantedCommand(
        name=command.name,
        program=command.path,
        usage=usage_lines(command.name, command.grammar),
        env_keys=sorted(command.env_allowed),
        stdin=control.stdin,
        timeout_s=command.timeout_s or 0.0,
        grace_s=command.grace_s,
        class_name=command.class_name,
        limits=limits_message(limit_class.limits, bound),
        signals=[signal_name(number) for number in sorted(control.signals or ())],
        any_signal=control.signals is None,
        description=command.description,
    )
    _add_slots(message, command.grammar.slots, MAX_CHOICES_OF_ALL)
    return message


def _add_slots(
    parent: pb.GrantedCommand | pb.ArgumentSlot, slots: tuple[Slot, ...], choices: int
) -> int:
    """Adds each slot to the parent's, and below it those that it holds; returns how many of
    ``choices`` are left. Added where they belong at once, because protobuf would copy a message
    that is made before its parent, once for each level."""
    for slot in slots:
        message = parent.slots.add()
        match slot:
            case LiteralSlot():
                message.kind, message.text = "literal", slot.text
            case EnumSlot():
                message.kind = "enum"
                message.choices.extend(slot.values[: min(choices, MAX_CHOICES)])
                message.more_choices = len(slot.values) - len(message.choices)
                choices -= len(message.choices)
            case IntSlot():
                message.kind, message.min, message.max = "int", slot.least, slot.most
            case PatternSlot():
                message.kind, message.text = "pattern", slot.pattern.source
            case PathSlot():
                message.kind, message.text = "path", slot.root
            case OptionalSlot():
                message.kind = "optional"
                choices = _add_slots(message, slot.slots, choices)
            case RepeatSlot():
                message.kind, message.min, message.max = "repeat", slot.least, slot.most
                choices = _add_slots(message, slot.slots, choices)
    return choices
