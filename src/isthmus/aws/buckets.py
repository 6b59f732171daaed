"""What handlers need of files: a port, as disks are not theirs."""

from __future__ import annotations

from typing import Protocol

from isthmus.core.registration_tasks import NewTask


class Buckets(Protocol):
    """Directories of a region, which stand for buckets of S3."""

    def new_task(self, bucket: str, key: str) -> NewTask:
        """Raises InputError where there is no such bucket, or no such file in it."""
        ...
