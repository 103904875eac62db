"""What may stand where the cursor is: the verbs' declarations, walked along the words typed (pure).

Not asyncclick's own completion, because that is asynchronous, so it would need an event loop, and
it fails at a line that is wrong so far.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncclick as click


@dataclass
class CursorPlace:
    """Where the cursor is. ``typed`` is the text of the word there, up to the cursor."""

    command: click.Command
    """The verb so far, or a group of which none is typed yet."""
    path: list[str] = field(default_factory=list)
    """The verb's names, as typed: ["certs", "issue"]."""
    given: dict[str, list[str]] = field(default_factory=dict)
    """Values typed so far, by the parameter's name; of a flag "" each time."""
    wanted: click.Parameter | None = None
    """The parameter whose value stands here; None if no value can."""
    verbs: bool = False
    """Whether the name of a verb stands here."""
    options: list[click.Option] = field(default_factory=list)
    """Those whose names may stand here, without what was given already."""
    front: str = ""
    """What of the word is in front of the value: "--output=" or "-o"."""
    typed: str = ""

    @property
    def value(self) -> str:
        """What of the value is typed."""
        return self.typed[len(self.front) :]


def find_place(root: click.Group, words: Sequence[str]) -> CursorPlace:
    """The place of the last of ``words``, which are behind the program's name. A word that is
    wrong is passed over as an argument, as the rest of the line may still be completed."""
    return _Walk(root).along(words)


class _Walk:
    def __init__(self, root: click.Group) -> None:
        self._place = CursorPlace(root)
        self._arguments = 0
        self._no_options = False
        self._pending: click.Option | None = None

    def along(self, words: Sequence[str]) -> CursorPlace:
        for word in words[:-1]:
            self._take(word)
        self._stop_at(words[-1] if words else "")
        return self._place

    def _take(self, word: str) -> None:
        if self._pending is not None:
            self._note(self._pending, word)
            self._pending = None
        elif self._no_options or not word.startswith("-") or word == "-":
            self._take_argument(word)
        elif word == "--":
            self._no_options = True
        else:
            option, _, value = self._split(word)
            if option is None:
                return
            if _takes_value(option) and value is None:
                self._pending = option
            else:
                self._note(option, value or "")

    def _take_argument(self, word: str) -> None:
        place = self._place
        if isinstance(place.command, click.Group):
            verb = place.command.commands.get(word)
            if verb is not None:
                place.command = verb
                place.path.append(word)
                return
        argument = self._argument()
        if argument is not None:
            self._note(argument, word)
            if argument.nargs != -1:
                self._arguments += 1
        # Behind COMMAND everything is the job's, options included.
        settings = place.command.context_settings
        if not settings.get("allow_interspersed_args", True):
            self._no_options = True

    def _stop_at(self, word: str) -> None:
        place = self._place
        place.typed = word
        if self._pending is not None:
            place.wanted = self._pending
            return
        if word.startswith("-") and not self._no_options:
            option, front, value = self._split(word)
            if option is not None and value is not None and _takes_value(option):
                place.wanted, place.front = option, front
                return
            place.options = [
                option
                for option in self._declared()
                if not option.hidden and (option.multiple or option.name not in place.given)
            ]
            return
        if isinstance(place.command, click.Group):
            place.verbs = True
        place.wanted = self._argument()

    def _note(self, parameter: click.Parameter, value: str) -> None:
        # An option that may stand behind the verb, too, is the same setting there.
        name = (parameter.name or "").removeprefix("own_")
        self._place.given.setdefault(name, []).append(value)

    def _argument(self) -> click.Argument | None:
        arguments = [
            each for each in self._place.command.params if isinstance(each, click.Argument)
        ]
        return arguments[self._arguments] if self._arguments < len(arguments) else None

    def _declared(self) -> list[click.Option]:
        return [each for each in self._place.command.params if isinstance(each, click.Option)]

    def _split(self, word: str) -> tuple[click.Option | None, str, str | None]:
        """The option that a word names; what of the word is in front of its value; the value,
        None if the word has none. Of flags in one word, as in -ai, the last one."""
        names = {name: option for option in self._declared() for name in option.opts}
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            return names.get(name), f"{name}{equals}", value if equals else None
        option = None
        for index, letter in enumerate(word[1:], 2):
            option = names.get(f"-{letter}")
            if option is None:
                break
            if _takes_value(option):
                return option, word[:index], word[index:] or None
            if index < len(word):
                self._note(option, "")
        return option, word, None


def _takes_value(option: click.Option) -> bool:
    return not option.is_flag and not option.count
