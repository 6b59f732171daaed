"""Where devices connect."""

from __future__ import annotations

from isthmus.aws.context import Context
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.service_error import invalid

#: All of them are one host here, with one certificate; AWS tells them apart by who signed theirs.
DATA_TYPES = ("iot:Data", "iot:Data-ATS")


@OPERATIONS.handles("DescribeEndpoint")
def describe_endpoint(context: Context, parameters: Parameters) -> Output:
    """The name that leads to a region that serves, and to another one when that dies."""
    asked = parameters.get("endpointType", DATA_TYPES[0])
    operation = context.call.operation
    if asked not in DATA_TYPES:
        known = " and ".join(DATA_TYPES)
        raise invalid(operation, f"There is no endpoint of the type {asked!r} here, only {known}")
    if not context.naming.device_host:
        raise invalid(operation, "No name is set for devices here: aws_api.device_host")
    return {"endpointAddress": context.naming.device_host}
