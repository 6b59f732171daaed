"""Many device and plain clients on real sockets, and the record of what they saw."""
