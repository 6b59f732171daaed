"""Bytes in, values out: MQTT packets and topics, without I/O."""
