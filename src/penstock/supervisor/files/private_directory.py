"""A directory of this process's user alone: made, or checked."""

import errno
import os
import stat

# A full disk must not keep penstockd from starting, so code that needs the directory reports it.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def check_private(key: str, path: str) -> list[str]:
    """Makes the directory, 0700, or returns the mistakes of what is there.

    They name the configuration's ``key``. The directory may be missing afterwards, if the disk is
    full. Raises OSError.
    """
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        return []
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        return [f"{key}: {path} is no directory; remove it, or name another one"]
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        return [
            f"{key}: {path} is not penstockd's user's alone; chown {os.geteuid()}, chmod 0700, or "
            "name another one"
        ]
    return []
