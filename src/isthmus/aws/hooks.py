"""Hooks of the user's that say whether a device may be provisioned: a port, and what they say.

Developer guide, "Pre-provisioning hooks", which are Lambda functions there. What a template calls
``targetArn`` is here the name of a hook that a region's configuration leads somewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Protocol

import msgspec

from isthmus.core.undecodable import UNDECODABLE
from isthmus.errors import InputError

#: AWS's bound on a parameter's value is not documented; all of them have to be in one answer.
_Text = Annotated[str, msgspec.Meta(max_length=65_536)]


class Verdict(msgspec.Struct, frozen=True, rename="camel"):
    """What a hook says; what it does not say is no."""

    allow_provisioning: bool = False
    #: Parameters instead of the device's, and beside them.
    parameter_overrides: dict[str, _Text] = {}


class Hooks(Protocol):
    """The hooks of a region."""

    async def ask(self, arn: str, event: Mapping[str, Any]) -> Any:
        """What a hook answers, as JSON has it; raises InputError that says why there is nothing.

        Raises Unavailable where too many wait for its answer; whoever asks again may get one.
        """
        ...


async def verdict(hooks: Hooks, arn: str, event: Mapping[str, Any]) -> Verdict:
    """Ask a hook; raises InputError where it is not there, fails, or does not answer in time.

    Raises Unavailable as that does.
    """
    answer = await hooks.ask(arn, event)
    try:
        return msgspec.convert(answer, Verdict)
    except UNDECODABLE as error:
        raise InputError(f"it is no answer of a hook: {error}") from None
