"""How many connections a process may have open; what it starts inherits that."""

from __future__ import annotations

import resource

from isthmus.bench.plan import (
    Calling,
    Connecting,
    FanningOut,
    Holding,
    Load,
    Offering,
    Paging,
    Publishing,
    Updating,
)
from isthmus.errors import ConfigError

#: For everything that is not a connection of a crowd.
OTHERS = 500


def needed(load: Load) -> int:
    """Files that a server and a generator each have open under a load."""
    match load:
        case FanningOut():
            return load.subscribers + OTHERS
        case Holding():
            return load.last + OTHERS
        case Publishing() | Offering():
            return load.crowd + OTHERS
        case Updating():
            return load.clients + OTHERS
        case Connecting() | Calling() | Paging():
            return OTHERS


def allow(count: int, why: str) -> None:
    """Raise this process's limit as far as it may; raises ConfigError if that is not enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    is_endless = hard == resource.RLIM_INFINITY
    wanted = max(soft, count) if is_endless else hard
    if wanted < count:
        raise ConfigError(
            f"{why} needs {count} open files per process, and this one may have {hard}",
            hint=f"ulimit -n {count} as root, or LimitNOFILE={count} of the service it runs in",
        )
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
