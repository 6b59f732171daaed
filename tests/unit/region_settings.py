"""Settings of a region that is nowhere, for tests that change some of them."""

from __future__ import annotations

from isthmus.config import Listen, NatsAccess, RegionConfig, TlsFiles

NATS = NatsAccess(url="tls://127.0.0.1:4222", ca="ca.pem", nkey_seed="user.nk")
TLS = TlsFiles(certificate="tls.pem", key="tls.key", ca="ca.pem")
REGION = RegionConfig(
    region="eu",
    state_dir="state",
    nats=NATS,
    gateway_nats=NATS,
    lake_nats=NATS,
    mqtt=Listen(host="127.0.0.1", port=8883),
    mqtt_tls=TLS,
    api=Listen(host="127.0.0.1", port=8443),
    api_tls=TLS,
)
