"""Files that only their owner may read: keys and seeds.

The invariant: a secret is never readable by others, not even between two system calls. A file has
its mode from the moment it exists, appears under its name whole or not at all, and is refused
when somebody opened it up later.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from isthmus.errors import ConfigError


def make_directory(directory: Path) -> None:
    """Create the directory for its owner only.

    Raises ConfigError if it is there and open, or if something that is no directory is in its way.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError(f"{directory} cannot be made: {error.strerror}") from None
    if directory.stat().st_mode & 0o077:
        raise ConfigError(f"{directory} is open to others", hint=f"chmod 700 {directory}")


def read(file: Path) -> bytes:
    """The content of a secret file; raises ConfigError if others can read it."""
    with file.open("rb") as stream:
        if os.fstat(stream.fileno()).st_mode & 0o077:
            raise ConfigError(f"{file} is open to others", hint=f"chmod 600 {file}")
        return stream.read()


def write(file: Path, content: bytes, mode: int = 0o600, *, is_synced: bool = False) -> None:
    """Replace the file as a whole; ``is_synced`` where a power loss must not take it away."""
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(content)
            if is_synced:
                stream.flush()
                os.fsync(descriptor)
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if is_synced:
        _sync_directory(file.parent)


def _sync_directory(directory: Path) -> None:
    """The name is an entry of the directory, and is lost with it."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
