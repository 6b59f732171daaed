"""mosquitto_pub and mosquitto_sub as one client: a process of each, and what they print with -d.

``mosquitto_pub -l`` stays connected and publishes every line that it reads, always to one topic and
at QoS 1. Other publishes are a mosquitto_pub of their own. Each has its own client id.
"""

import re
import subprocess
import sys
import threading
import time
from fcntl import ioctl
from termios import FIONREAD

from lines import FAILURE, KEPT_S, arguments, commands, one_word, say

said = arguments()
numbers = iter(range(1_000))
#: What follows the client id.
PUBLISHER, SUBSCRIBER = "", "-sub"
FORMAT = "message %q %r %t %p"
ACKNOWLEDGED = re.compile(r"received PUBACK \(Mid: (\d+), RC:(\d+)\)")
SENT = re.compile(r"sending PUBLISH \(d\d, q1, r\d, m(\d+), ")
SUBSCRIBED = re.compile(r"Subscribed \(mid: \d+\): (\d+)")
REFUSED = re.compile(r"received CONNACK \([1-9]|^Error|^Connection error")


def start(tool: str, suffix: str, *more: str) -> subprocess.Popen[str]:
    """One of the tools; those that stay ask for the session that was asked for."""
    place = ["-h", said.host, "-p", str(said.port), "-i", said.id + suffix]
    files = ["--cafile", said.cafile, "--cert", said.cert, "--key", said.key]
    asked = ["-V", "mqttv5" if said.version == "5" else "mqttv311", "-d"]
    if said.session == "kept" and suffix in (PUBLISHER, SUBSCRIBER):
        asked += ["-c", *(["-x", str(KEPT_S)] if said.version == "5" else [])]
    # Line by line, as on a terminal.
    command = ["stdbuf", "-oL", tool, *place, *files, *asked, *more]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
    )


def retell(process: subprocess.Popen[str], suffix: str, waiting: list[str]) -> None:
    """Say what a tool prints; ``waiting`` are payloads in the order of their publishes.

    The one that publishes speaks for the client where there is only one connection to speak of.
    """
    by_id: dict[str, str] = {}
    connected = False
    for line in process.stdout:
        line = line.rstrip()
        sys.stderr.write(f"{line}\n")
        if line.startswith("message "):
            say(line)
        elif found := SUBSCRIBED.search(line):
            say("subscribed", found[1])
        elif found := SENT.search(line):
            if found[1] not in by_id and waiting:
                by_id[found[1]] = waiting.pop(0)
        elif found := ACKNOWLEDGED.search(line):
            payload = by_id.pop(found[1], "unknown")
            if int(found[2]) >= FAILURE:
                say("failed", payload, found[2])
            else:
                say("acknowledged", payload)
        elif suffix != PUBLISHER:
            continue
        elif "received CONNACK (0)" in line:
            connected = True
            say("connected", "-")
        elif REFUSED.search(line):
            say("refused", one_word(line))
        elif connected and line.endswith("sending CONNECT"):
            # It does not tell of a loss, but of its next attempt.
            connected = False
            say("disconnected")
    for payload in (*by_id.values(), *waiting):
        say("failed", payload, "it-ended")


def run(tool: str, suffix: str, *more: str, waiting: list[str]) -> subprocess.Popen[str]:
    process = start(tool, suffix, *more)
    threading.Thread(target=retell, args=(process, suffix, waiting), daemon=True).start()
    return process


help_text = subprocess.run(["mosquitto_pub", "--help"], capture_output=True, text=True).stdout
say("library", re.search(r"mosquitto_pub version (\S+)", help_text)[1])
will = []
if said.will_topic:
    will = ["--will-topic", said.will_topic, "--will-payload", said.will_payload, "--will-qos", "1"]
waiting: list[str] = []
subscribed: set[str] = set()
publisher = run(
    "mosquitto_pub", PUBLISHER, "-l", "-q", "1", "-t", said.topic, *will, waiting=waiting
)
for words in commands():
    match words:
        case ["publish", "1", "0", said.topic, payload]:
            waiting.append(payload)
            publisher.stdin.write(f"{payload}\n")
            while ioctl(publisher.stdin, FIONREAD, b"\0" * 4) != b"\0" * 4:
                time.sleep(0.005)
            say("made", payload)
        case ["publish", qos, retain, topic, payload]:
            more = ["-q", qos, "-t", topic, "-m", payload, *(["-r"] if retain == "1" else [])]
            once = [payload] if qos == "1" else []
            run("mosquitto_pub", f"-{next(numbers)}", *more, waiting=once)
        case ["subscribe", qos, topic_filter] if topic_filter not in subscribed:
            # Once: it does so again by itself.
            subscribed.add(topic_filter)
            more = ["-q", qos, "-t", topic_filter, "-F", FORMAT]
            run("mosquitto_sub", SUBSCRIBER, *more, waiting=[])
