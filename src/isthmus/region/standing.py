"""How a region stands, as its services tell its other processes ten times a second."""

from __future__ import annotations

from isthmus.protocol import Heartbeat


class Standing:
    """The newest word of the services."""

    def __init__(self) -> None:
        #: Under which the region writes; empty before the first heartbeat.
        self.incarnation = ""
        #: Whether it may acknowledge by itself.
        self.is_alone = False
        self._epoch = -1

    def heard(self, heartbeat: Heartbeat) -> bool:
        """Take a heartbeat in; True if it says something new."""
        if heartbeat.incarnation == self.incarnation and heartbeat.alone_epoch <= self._epoch:
            return False
        self.incarnation, self._epoch = heartbeat.incarnation, heartbeat.alone_epoch
        self.is_alone = heartbeat.alone
        return True
