"""Every error that Isthmus raises on purpose.

    IsthmusError
      ConfigError          a setting is wrong: names the field, the value, what to try
      InputError           what a user handed in is wrong (a fleet file, an argument, a request)
      MalformedPacket      bytes on the wire that are not MQTT
      StaleRevision        compare-and-set lost: somebody wrote the item in between
      ServiceError         a request of an AWS client is refused (aws/service_error.py has it)
      ShadowRefused        a request to a shadow is refused (core/shadow_request.py has it)
      Unavailable          a part we need does not answer (yet)
        StreamRewound      a stream ends before the position that was reached in it
      BrokenInvariant      a promise of ours does not hold: a bug, never the user's fault

The docstring of a class is its default message. ``hint`` says what to try next.
"""

from __future__ import annotations


class IsthmusError(Exception):
    """Something went wrong."""

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())
        self.hint = hint

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\nTry: {self.hint}" if self.hint else text


class ConfigError(IsthmusError):
    """A setting is wrong."""


class InputError(IsthmusError):
    """The input is wrong."""


class MalformedPacket(IsthmusError):
    """These bytes are not an MQTT packet."""

    #: What an MQTT 5 peer is told in CONNACK or DISCONNECT, section 4.13: malformed packet. The
    #: subclasses in ``wire.framing`` say others.
    reason_code: int = 0x81


class StaleRevision(IsthmusError):
    """The item was written by somebody else in between."""


class Unavailable(IsthmusError):
    """A part that is needed does not answer."""


class StreamRewound(Unavailable):
    """A stream was wiped or restored under a running process."""


class BrokenInvariant(IsthmusError):
    """A promise does not hold."""
