"""Serves the AWS-compatible API of one region over HTTPS: ``isthmus.aws`` with its sockets."""
