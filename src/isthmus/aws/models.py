"""The service models: what every operation takes and gives, as botocore ships it.

They are read once, through botocore's own classes, and from the installed package alone: a file in
somebody's ``~/.aws/models`` or AWS_DATA_PATH must not change what this server accepts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel

from isthmus.core.sigv4 import DEVICE_GATEWAY
from isthmus.errors import InputError

IOT, IOT_DATA, IOT_JOBS_DATA = "iot", "iot-data", "iot-jobs-data"
SERVICES = (IOT, IOT_DATA, IOT_JOBS_DATA)
#: What clients sign for besides the names in the models.
_ALSO_SIGNED_AS = {"execute-api": IOT, DEVICE_GATEWAY: IOT_DATA}


@dataclass(frozen=True, eq=False)
class Service:
    """One service: its operations by name, how they are paged, and the errors that it has."""

    name: str
    model: ServiceModel
    #: By operation, as ``paginators-1.json`` has them.
    paginators: Mapping[str, Mapping[str, Any]]
    operations: Mapping[str, OperationModel] = field(init=False)
    #: HTTP status by the name of the error.
    errors: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        names = self.model.operation_names
        operations = {name: self.model.operation_model(name) for name in names}
        errors = {
            shape.name: shape.metadata["error"]["httpStatusCode"]
            for shape in self.model.error_shapes
        }
        object.__setattr__(self, "operations", operations)
        object.__setattr__(self, "errors", errors)


@cache
def service(name: str) -> Service:
    """The service of this name, read when it is first asked for."""
    if name not in SERVICES:
        raise InputError(f"there is no service {name[:80]!r}", hint=" or ".join(SERVICES))
    loader = Loader([Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    model = ServiceModel(loader.load_service_model(name, "service-2"), name)
    return Service(name, model, loader.load_service_model(name, "paginators-1")["pagination"])


@cache
def signing_names() -> Mapping[str, str]:
    """The services by what a signature for them may say."""
    return {service(name).model.signing_name: name for name in SERVICES} | _ALSO_SIGNED_AS


def signed_as(signing_name: str) -> Service:
    """The service that a signature of this scope is for."""
    names = signing_names()
    if signing_name not in names:
        raise InputError(f"there is no service that is signed as {signing_name[:80]!r}")
    return service(names[signing_name])
