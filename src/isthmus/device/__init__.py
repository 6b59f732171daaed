"""The device client: keeps what was not acknowledged, and finds a region that serves."""

from isthmus.core.reconnect import Endpoint
from isthmus.device.client import DeviceClient

__all__ = ["DeviceClient", "Endpoint"]
