"""Who a WebSocket's client is: a certificate that TLS has proven, or an access key that signs.

A request that claims to be signed is judged by that alone. Its client hears the same whatever was
wrong with it; the log has the reason.
"""

from __future__ import annotations

from pathlib import Path

from isthmus.adapters.sealing import Sealing
from isthmus.clock import now_ms
from isthmus.config import RegionConfig
from isthmus.core import sigv4
from isthmus.core.signers import Signers
from isthmus.core.sigv4 import DEVICE_GATEWAY, Accepted, Request
from isthmus.core.view import View
from isthmus.errors import InputError
from isthmus.gateway.websocket import Forbidden, Upgrade, by_certificate

#: The data plane: boto3 calls it by the other name.
SERVICES = frozenset({DEVICE_GATEWAY, "iotdata"})
TOLD = "the signature is not accepted"


class Authentication:
    """Says as which principal an upgrade is served."""

    def __init__(self, config: RegionConfig, view: View) -> None:
        sealing = Sealing.load(Path(config.secrets_key)) if config.secrets_key else None
        accepted = Accepted(SERVICES, config.arn_regions)
        self._signers = Signers(view, accepted, sealing.open if sealing else None)

    def __call__(self, upgrade: Upgrade) -> str | Forbidden:
        request = Request("GET", upgrade.target, upgrade.headers)
        if not sigv4.is_signed(request):
            return by_certificate(upgrade)
        try:
            return self._signers.signer(request, now_ms() / 1000).key_id
        except InputError as error:
            return Forbidden(str(error), TOLD)
