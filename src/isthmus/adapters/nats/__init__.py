"""NATS: connections, streams, and the change log on JetStream."""
