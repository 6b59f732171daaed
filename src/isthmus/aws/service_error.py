"""Why a request is refused, as AWS's clients understand it.

The names and statuses of errors are in the models, except of those that a service may answer with
whatever it is asked: AWS lists them as common to all services, and no model has them.
"""

from __future__ import annotations

from collections.abc import Mapping

from botocore.model import OperationModel

from isthmus.errors import IsthmusError

#: HTTP status of the errors that no model has.
COMMON_ERRORS = {
    "SerializationException": 400,
    "AccessDeniedException": 403,
    "InvalidSignatureException": 403,
    "MissingAuthenticationTokenException": 403,
    "UnrecognizedClientException": 403,
    "UnknownOperationException": 404,
    "MethodNotAllowedException": 405,
    "RequestTimeoutException": 408,
    "RequestEntityTooLargeException": 413,
    "NotImplementedException": 501,
}
#: Newer operations have the second where older ones have the first.
_INVALID = ("InvalidRequestException", "ValidationException")


class ServiceError(IsthmusError):
    """A request is refused.

    ``code`` is the name of one of the service's errors, ``members`` what that error carries besides
    its message, such as ``resourceId``.
    """

    def __init__(self, code: str, message: str, members: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.members = dict(members or {})


def invalid(operation: OperationModel, message: str) -> ServiceError:
    """What this operation answers to input that is not as it must be."""
    declared = {shape.name for shape in operation.error_shapes}
    code = next((each for each in _INVALID if each in declared), _INVALID[0])
    return ServiceError(code, message)
