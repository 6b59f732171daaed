"""Names of resources as AWS writes them.

A system has one account; each region has a name, and often an alias, and an ARN of any of them
means the same resource in all (docs/correctness.md, section 9).
"""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.errors import InputError


@dataclass(frozen=True, slots=True)
class Naming:
    """How a region writes ARNs, and which ones it reads as its own."""

    account_id: str
    #: As it stands in the ARNs that are written here.
    region: str
    #: Of every region of the system.
    regions: frozenset[str]
    #: The host name that devices connect to, whichever region serves it; empty where none is set.
    device_host: str = ""

    def arn(self, kind: str, name: str) -> str:
        """``kind`` as in ARNs: ``thing``, ``thinggroup``, ``cert``, ``policy`` ..."""
        return f"arn:aws:iot:{self.region}:{self.account_id}:{kind}/{name}"

    def read(self, arn: str) -> tuple[str, str]:
        """Kind and name of a resource; raises InputError for an ARN of anybody else's."""
        parts = arn.split(":", 5)
        kind, slash, name = parts[-1].partition("/")
        if len(parts) != 6 or parts[:3] != ["arn", "aws", "iot"] or not slash or not name:
            raise InputError(f"{arn[:200]!r} is not an ARN of AWS IoT")
        if parts[3] not in self.regions:
            raise InputError(f"{arn[:200]!r} is of a region that is none of this system's")
        if parts[4] != self.account_id:
            raise InputError(f"{arn[:200]!r} is of another account")
        return kind, name
