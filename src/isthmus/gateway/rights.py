"""What the certificates and access keys of a gateway's clients may do."""

from __future__ import annotations

import logging

from isthmus.adapters.certificate_names import certificate_names
from isthmus.config import RegionConfig
from isthmus.core.permissions import Permissions
from isthmus.core.view import View

_log = logging.getLogger(__name__)


def permissions_of(config: RegionConfig, view: View) -> Permissions:
    """By a region's settings, and the items as they are at any moment."""
    account, regions = config.account_id, config.arn_regions
    return Permissions(account, regions, view, _note_unreadable, certificate_names)


def _note_unreadable(reason: str) -> None:
    _log.warning("a policy cannot be read", extra={"action": "bad-policy", "reason": reason})
