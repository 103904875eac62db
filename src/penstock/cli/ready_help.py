"""``--help`` and ``help`` from pages that are made beforehand, and ``--version``.

asyncclick, which makes help of the verbs' declarations, takes three times as long to import as
Python to start. So ``tools/gen_man`` writes what it makes into ``help/``, and this prints it, where
the words are plain names of verbs and the terminal is as wide as most. For everything else, and
where a page is missing, ``root`` makes the help, as for every mistake.
"""

import os

from .. import __version__

_PAGES = os.path.join(os.path.dirname(__file__), "help")
_FLAGS = ("--help", "-h")
_COLUMNS = 80
"""asyncclick breaks lines for narrower terminals, and for no wider ones."""


def ready_help(arguments: list[str]) -> str | None:
    """The help or version for which these arguments ask; None if they are to be parsed."""
    if arguments == ["--version"]:
        return f"penstock {__version__}\n"
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:], _FLAGS[0]]
    *words, last = arguments or [""]
    if last not in _FLAGS or not all(word.isalpha() for word in words) or not _is_wide():
        return None
    try:
        with open(os.path.join(_PAGES, page_name(words)), encoding="utf-8") as file:
            return file.read()
    except (OSError, ValueError):  # none of that name, or a name that no file has
        return None


def page_name(words: list[str]) -> str:
    """The file of a verb's page, by the words of the verb; none for penstock itself."""
    return ".".join(["penstock", *words, "txt"])


def _is_wide() -> bool:
    """As shutil.get_terminal_size, which asyncclick asks: COLUMNS goes before the terminal."""
    if columns := os.environ.get("COLUMNS", ""):
        return columns.isdecimal() and len(columns) < 6 and int(columns) >= _COLUMNS
    try:
        return (os.get_terminal_size(1).columns or _COLUMNS) >= _COLUMNS
    except OSError:  # none
        return True
