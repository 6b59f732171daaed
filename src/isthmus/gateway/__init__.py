"""The gateway: devices on one side by MQTT over mTLS, the region on the other; the hot path."""
