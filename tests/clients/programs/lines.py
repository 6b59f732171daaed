"""What the programs have in common: each is one client, is told what to do and tells what it hears.

On standard input, a line each; words have no spaces in them:

    publish QOS RETAIN TOPIC PAYLOAD
    subscribe QOS FILTER

On standard output, as it happens:

    library VERSION
    connected SESSION-PRESENT           1, 0, or - where the library does not tell
    refused REASON                      an attempt to connect has failed
    disconnected
    subscribed QOS
    made PAYLOAD                        the library has a publish
    acknowledged PAYLOAD                a publish at QoS 1
    failed PAYLOAD REASON               the application is told that a publish at QoS 1 failed
    message QOS RETAIN TOPIC PAYLOAD

A program adds nothing to its library: what connects again, and sends again, is the library's own.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Iterator
from importlib import metadata

#: A second everywhere, which is the least that every library takes; some begin with five. Where
#: it grows from loss to loss even if there was a connection in between, it does not here.
RECONNECT_S = 1
#: From here on a reason code of MQTT 5 is a failure, section 2.4.
FAILURE = 0x80
#: How long a session is asked to be kept.
KEPT_S = 3600

_speaking = threading.Lock()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("host", "cafile", "cert", "key", "id"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--version", choices=("3.1.1", "5"), required=True)
    parser.add_argument("--session", choices=("clean", "kept"), required=True)
    #: What it will mostly publish to; only for a program that must know before it connects.
    parser.add_argument("--topic", required=True)
    parser.add_argument("--will-topic")
    #: To sign with an AWS profile instead of showing a certificate.
    for name in ("profile", "region", "aws-config", "aws-credentials"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--will-payload")
    return parser.parse_args()


def say_version(distribution: str) -> None:
    say("library", metadata.version(distribution))


def say(*words: object) -> None:
    line = " ".join(str(word) for word in words)
    with _speaking:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def one_word(reason: object) -> str:
    return "-".join(str(reason).split()) or "unknown"


def commands() -> Iterator[list[str]]:
    for line in sys.stdin:
        yield line.split()
