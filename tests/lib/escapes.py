"""Ways out of programs that run other programs: command lines that make a file, if they run."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Escape:
    """``words`` as a client would type them behind the command of the cookbook that runs
    ``program``; ``sign`` is what of the cookbook's page is this one."""

    program: str
    command: str
    words: tuple[str, ...]
    sign: str

    def __repr__(self) -> str:
        return self.program


def escapes(directory: Path, mark: Path) -> list[Escape]:
    """All eight. Each makes ``mark``; ``directory`` gets the files that they need."""
    text = directory / "text"
    text.write_text("b\na\n" * 60_000)
    script = directory / "script"
    script.write_text(f"#!/bin/sh\ntouch {mark}\nexec cat\n")
    script.chmod(0o755)
    touch = f"touch {mark}"
    return [
        Escape(
            *("find", "old-files"),
            (str(directory), "-maxdepth", "0", "-exec", "touch", str(mark), ";"),
            "-exec",
        ),
        Escape(
            *("tar", "site-part"),
            ("-cf", "/dev/null", "--checkpoint=1", f"--checkpoint-action=exec={touch}", str(text)),
            "--checkpoint-action=exec=",
        ),
        Escape("awk", "first-column", (f'BEGIN {{ system("{touch}") }}',), "system("),
        Escape("sed", "first-lines", ("-n", f"1e {touch}", str(text)), "1e "),
        Escape("git", "last-change", ("-c", f"alias.x=!{touch}", "x"), "alias.x=!"),
        Escape("env", "clock", ("-S", touch), "-S "),
        Escape("xargs", "base-names", ("sh", "-c", touch), "sh -c "),
        Escape(
            *("sort", "sorted"),
            ("-S", "100k", "-o", "/dev/null", f"--compress-program={script}", str(text)),
            "--compress-program=",
        ),
    ]
