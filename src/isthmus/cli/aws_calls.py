"""Calls of the AWS-compatible API, as any client of AWS's makes them.

Commands that need no right but that of a key go this way, so they work against every region, and
from wherever the profile is. What a call is refused for is told with what to do about it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.errors import InputError, IsthmusError, Unavailable

if TYPE_CHECKING:
    from botocore.awsrequest import AWSRequest
    from botocore.session import Session

#: The port that devices connect to where nothing says another one.
MQTT_PORT = 8883

Profile = Annotated[
    str, typer.Option(help="A profile of AWS's configuration. Default: as AWS's clients find one.")
]
State = Annotated[
    Path | None,
    typer.Option(help="The directory of a running `isthmus up --state`, which has profiles."),
]


class Refused(InputError):
    """A call was refused; ``code`` is AWS's name for why."""

    def __init__(self, message: str, code: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code

    @property
    def is_not_found(self) -> bool:
        return self.code == "ResourceNotFoundException"


class AwsCalls:
    """The API that a profile leads to."""

    def __init__(self, profile: str, state: Path | None) -> None:
        self._session = _session(profile, state)
        self._client = self._connected("iot")

    def service(self, name: str) -> AwsCalls:
        """The same for another of AWS's services, by its name in botocore."""
        other = copy.copy(self)
        other._client = self._connected(name)
        return other

    def _connected(self, service: str) -> Any:
        from botocore.exceptions import BotoCoreError

        try:
            # Else AWS_CA_BUNDLE wins, which is there for AWS's own endpoints.
            return self._session.create_client(service, verify=self._profile("ca_bundle"))
        except BotoCoreError as error:
            raise _told("the profile", error) from None

    def say(self, header: str, value: str) -> None:
        """Have every call say something beside its input."""

        def add(request: AWSRequest, **_: Any) -> None:
            request.headers[header] = value

        self._client.meta.events.register("before-sign", add)

    def __call__(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """One operation by its name in AWS's documentation; raises Refused or Unavailable."""
        from botocore import xform_name
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer: dict[str, Any] = getattr(self._client, xform_name(operation))(**parameters)
        except ClientError as error:
            raise _refused(operation, error.response["Error"]) from None
        except BotoCoreError as error:
            raise _told(operation, error) from None
        return answer

    def pages(self, operation: str, listed: str, **parameters: Any) -> Iterator[Any]:
        """The entries of a list, page by page as they are taken."""
        of_call = self._client.meta.service_model.operation_model(operation)
        # AWS has two names for where the next page begins.
        names = ("nextToken", "marker")
        token = next(name for name in names if name in of_call.input_shape.members)
        while True:
            answer = self(operation, **parameters)
            yield from answer.get(listed, [])
            behind = answer.get("nextToken") or answer.get("nextMarker")
            if not behind:
                return
            parameters[token] = behind

    def _profile(self, setting: str) -> str | None:
        said: str | None = self._session.get_scoped_config().get(setting)
        return said

    @property
    def ca_file(self) -> str:
        """What the API is verified with, or nothing where that is the machine's own trust."""
        found: str | None = self._session.get_config_variable("ca_bundle")
        return self._profile("ca_bundle") or found or ""

    def mqtt(self, endpoint: str) -> tuple[str, int]:
        """Host and port that devices connect to: as given, as the profile says, or as asked."""
        from isthmus.local.aws_profile import MQTT

        said = endpoint or self._profile(MQTT)
        if not said:
            said = self("DescribeEndpoint", endpointType="iot:Data-ATS")["endpointAddress"]
        host, _, port = said.rpartition(":") if ":" in said else (said, "", "")
        if port and not port.isdigit():
            raise InputError(f"the endpoint is {said!r}", hint="--endpoint HOST or HOST:PORT")
        return host, int(port or MQTT_PORT)


def _session(profile: str, state: Path | None) -> Session:
    from botocore.session import Session

    session = Session(profile=profile or None)
    if state is None:
        return session
    directory = state / "aws"
    if not (directory / "config").exists():
        raise InputError(
            f"{state}: no AWS profiles are kept here",
            hint="the directory that `isthmus up --state` was given",
        )
    session.set_config_variable("config_file", str(directory / "config"))
    session.set_config_variable("credentials_file", str(directory / "credentials"))
    if not profile:
        # The first region's: the one for whichever is served takes the local nameservers.
        session.set_config_variable("profile", session.available_profiles[0])
    return session


def _refused(operation: str, error: dict[str, str]) -> Refused:
    code, message = error.get("Code", ""), error.get("Message", "")
    hints = {
        "AccessDeniedException": f"a key whose role may {operation}, such as "
        "isthmus access-key create --role operator",
        "UnrecognizedClientException": "isthmus access-key list: the key may have been taken away",
        "ServiceUnavailableException": "the same command again, which goes on where it ended",
    }
    return Refused(f"{operation}: {message or code}", code, hint=hints.get(code, ""))


def _told(what: str, error: Exception) -> IsthmusError:
    from botocore import exceptions

    needs_profile = (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.ProfileNotFound,
        exceptions.NoRegionError,
    )
    if isinstance(error, needs_profile):
        hint = "--state of a running `isthmus up`, or --profile as docs/aws-api.md has it"
        return InputError(f"{what}: {error}", hint=hint)
    if isinstance(error, exceptions.SSLError):
        hint = "ca_bundle of the profile, or AWS_CA_BUNDLE: what the API is verified with"
        return InputError(f"{what}: {error}", hint=hint)
    if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
        hint = "another region's --profile, or the same again when this one is back"
        return Unavailable(f"{what}: {error}", hint=hint)
    return InputError(f"{what}: {error}")
