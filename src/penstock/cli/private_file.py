"""A file of the user's own, replaced whole: a reader gets all of the old one or all of the new."""

import os
import tempfile
from pathlib import Path


def replace_file(path: Path, data: bytes, *, durable: bool) -> None:
    """Writes the data beside its place, with mode 0600, then renames it there (rename(2) is
    atomic). ``durable``: it survives a power cut once this returns. Raises OSError; then the old
    file stands."""
    descriptor, new = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(descriptor)
        os.rename(new, path)
    except BaseException:
        os.unlink(new)
        raise
    if durable:
        directory = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
