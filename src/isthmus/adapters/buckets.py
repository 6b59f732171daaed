"""Directories that stand for buckets of S3: the input of bulk registrations, and their reports.

The invariant: whatever a key says, nothing outside of its bucket's directory is opened. A path is
walked from directory to directory, each opened in the one before, and none of them is a link; so a
directory that is replaced meanwhile leads nowhere else.

Reports are for their owner only. Whoever goes on with one begins a file of its own with what was
counted: what a frozen predecessor still writes goes into a file that has no name any more.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from isthmus.core.registration_tasks import NewTask
from isthmus.errors import InputError

#: A device's parameters with its certificate and that of its CA have less.
LINE_BYTES_MAX = 256 * 1024
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Without waiting for whoever writes, where it is a pipe.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Line(NamedTuple):
    """A line of an input."""

    offset: int
    #: Where the next one begins.
    end: int
    #: None of one that is too long.
    text: bytes | None


class Lines:
    """The lines of an input, from an offset on. Its methods block."""

    def __init__(self, descriptor: int, offset: int) -> None:
        self._file = os.fdopen(descriptor, "rb")
        self._file.seek(offset)
        self._offset = offset
        self.size = os.fstat(descriptor).st_size

    def read(self, count: int) -> list[Line]:
        """So many lines, or those that are left."""
        found: list[Line] = []
        while len(found) < count and (text := self._file.readline(LINE_BYTES_MAX + 1)):
            end, is_whole = self._offset + len(text), len(text) <= LINE_BYTES_MAX
            while not is_whole and not text.endswith(b"\n"):
                if not (text := self._file.readline(LINE_BYTES_MAX)):
                    break
                end += len(text)
            found.append(Line(self._offset, end, text if is_whole else None))
            self._offset = end
        return found

    def close(self) -> None:
        self._file.close()


class Report:
    """A file that grows. ``sync`` blocks."""

    def __init__(self, directory: int, name: str, size: int) -> None:
        """Begin with so many bytes of what is there under this name."""
        temporary = f".{name}.{secrets.token_hex(8)}"
        self._descriptor = os.open(temporary, _NEW, 0o600, dir_fd=directory)
        try:
            self.size = _copy(directory, name, self._descriptor, size)
            os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            self.close()
            os.unlink(temporary, dir_fd=directory)
            raise

    def append(self, text: bytes) -> None:
        while text:
            written = os.write(self._descriptor, text)
            self.size += written
            text = text[written:]

    def sync(self) -> None:
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


def _copy(directory: int, name: str, target: int, size: int) -> int:
    if not size:
        return 0
    with (
        os.fdopen(os.open(name, _FILE, dir_fd=directory), "rb") as source,
        os.fdopen(os.dup(target), "wb") as sink,
    ):
        shutil.copyfileobj(source, sink)
        # A disk that lost its power may have less than it said.
        size = min(size, sink.tell())
    os.ftruncate(target, size)
    return os.lseek(target, size, os.SEEK_SET)


class Buckets:
    """The directories that a region's configuration names."""

    def __init__(self, directories: Mapping[str, str]) -> None:
        self._directories = directories

    def new_task(self, bucket: str, key: str) -> NewTask:
        """An id for a task on a file, and the URL of its directory; raises InputError for none."""
        self.lines(bucket, key, 0).close()
        task_id = str(uuid.uuid4())
        return NewTask(task_id, (self._root(bucket) / task_id).as_uri())

    def lines(self, bucket: str, key: str, offset: int) -> Lines:
        """The lines of a file; raises InputError where there is no such file."""
        *directories, name = key.split("/")
        try:
            with _opened(self._root(bucket), directories) as directory:
                if name in ("", ".", ".."):
                    raise InputError(f"{key[:80]!r} is no name of a file in a bucket")
                descriptor = os.open(name, _FILE, dir_fd=directory)
        except OSError as error:
            raise InputError(f"{key[:80]!r} in bucket {bucket!r}: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise InputError(f"{key[:80]!r} in bucket {bucket!r} is not a file")
        return Lines(descriptor, offset)

    def report(self, bucket: str, task_id: str, name: str, size: int) -> Report:
        """A report of a task, with so many bytes of what is there."""
        with _opened(self._root(bucket), []) as root:
            with suppress(FileExistsError):
                os.mkdir(task_id, 0o700, dir_fd=root)
            directory = os.open(task_id, _DIRECTORY, dir_fd=root)
        try:
            return Report(directory, name, size)
        finally:
            os.close(directory)

    def _root(self, bucket: str) -> Path:
        if bucket not in self._directories:
            hint = "name its directory in [aws_api.buckets] of the region's configuration"
            raise InputError(f"there is no bucket {bucket[:80]!r} in this region", hint=hint)
        return Path(self._directories[bucket])


@contextmanager
def _opened(root: Path, directories: list[str]) -> Iterator[int]:
    """The directory at the end of a way down from a root, none of which is a link."""
    # The root itself may be one: the operator has named it.
    opened = os.open(root, _DIRECTORY & ~os.O_NOFOLLOW)
    try:
        for each in directories:
            if each in ("", ".", ".."):
                raise InputError(f"{each!r} is no part of a key in a bucket")
            below = os.open(each, _DIRECTORY, dir_fd=opened)
            os.close(opened)
            opened = below
        yield opened
    finally:
        os.close(opened)
