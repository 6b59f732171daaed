"""What `isthmus device` reads of things and takes away, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from rich.console import Console
from rich.table import Table

from isthmus.cli.aws_calls import AwsCalls, Refused

#: Certificates of one thing that are shown.
CERTIFICATES_MAX = 50

console = Console(highlight=False)


def listed(
    calls: AwsCalls, group: str, type_name: str, limit: int
) -> tuple[list[dict[str, Any]], bool]:
    """Things by name, and whether there are more."""
    if group:
        names = calls.pages(
            "ListThingsInThingGroup", "things", thingGroupName=group, recursive=True
        )
        things = (calls("DescribeThing", thingName=name) for name in names)
        of_type: Iterator[dict[str, Any]] = (
            each for each in things if type_name in ("", each.get("thingTypeName"))
        )
    else:
        asked = {"thingTypeName": type_name} if type_name else {}
        of_type = calls.pages("ListThings", "things", **asked)
    found = [
        {
            "thing": each["thingName"],
            "type": each.get("thingTypeName"),
            "attributes": each.get("attributes", {}),
        }
        for each in islice(of_type, limit + 1)
    ]
    return found[:limit], len(found) > limit


def show_list(found: list[dict[str, Any]], *, has_more: bool) -> None:
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("thing", "type", "attributes"):
        shown.add_column(column, overflow="fold")
    for each in found:
        shown.add_row(each["thing"], each["type"] or "-", _pairs(each["attributes"]))
    console.print(shown if found else "there is no such thing")
    if has_more:
        console.print(f"[dim]and more than these {len(found)}: --limit shows them[/]")


def described(calls: AwsCalls, name: str) -> dict[str, Any]:
    """All that the API says of a thing."""
    thing = calls("DescribeThing", thingName=name)
    arns = islice(
        calls.pages("ListThingPrincipals", "principals", thingName=name), CERTIFICATES_MAX
    )
    groups = calls.pages("ListThingGroupsForThing", "thingGroups", thingName=name)
    return {
        "thing": name,
        "type": thing.get("thingTypeName"),
        "attributes": thing.get("attributes", {}),
        "certificates": [_certificate(calls, name, arn) for arn in arns],
        "groups": [each["groupName"] for each in groups],
        "connection": _connection(calls, name),
    }


def _certificate(calls: AwsCalls, name: str, arn: str) -> dict[str, Any]:
    certificate_id = arn.rpartition("/")[2]
    held = calls("DescribeCertificate", certificateId=certificate_id)["certificateDescription"]
    counting = calls("GetEffectivePolicies", thingName=name, principal=arn)
    return {
        "id": certificate_id,
        "status": held["status"],
        "not_after": held.get("validity", {}).get("notAfter"),
        # Of the certificate, and of the groups that the thing is in.
        "policies": [each["policyName"] for each in counting["effectivePolicies"]],
    }


def _connection(calls: AwsCalls, name: str) -> dict[str, Any]:
    """Whether a client of the thing's name is connected: at which gateway, and since when."""
    try:
        said = calls.service("iot-data")(
            "GetConnection", clientId=name, includeSocketInformation=True
        )
    except Refused as error:
        if error.is_not_found:
            return {"connected": False}
        raise
    since = said.get("connectedSince" if said["connected"] else "disconnectedSince")
    return {
        "connected": said["connected"],
        "since": since and when(since),
        "at": f"{said['targetIp']}:{said['targetPort']}" if said.get("targetIp") else None,
        "reason": said.get("disconnectReason"),
    }


def show_device(found: dict[str, Any]) -> None:
    shown = Table.grid(padding=(0, 2))
    shown.add_row("thing", f"[bold]{found['thing']}[/]")
    shown.add_row("type", found["type"] or "-")
    shown.add_row("attributes", _pairs(found["attributes"]))
    for each in found["certificates"] or [None]:
        shown.add_row("certificate", _certificate_line(each) if each else "-")
    shown.add_row("groups", ", ".join(found["groups"]) or "-")
    shown.add_row("connection", _connection_line(found["connection"]))
    for each in found.get("suspended", ()):
        of_group = f" with group {each['group']}" if "group" in each else ""
        shown.add_row("suspended", f"[red]since {when(each['since_ms'])}{of_group}[/] {_why(each)}")
    console.print(shown)


def _certificate_line(each: dict[str, Any]) -> str:
    colour = "green" if each["status"] == "ACTIVE" else "red"
    policies = ", ".join(each["policies"]) or "[red]no policy[/]"
    return f"{each['id'][:16]}…  [{colour}]{each['status']}[/]  {policies}"


def _connection_line(connection: dict[str, Any]) -> str:
    since = f" since {connection['since']}" if connection.get("since") else ""
    if connection["connected"]:
        return f"[green]connected[/]{since} to {connection['at'] or 'some gateway'}"
    why = f", {connection['reason']}" if connection.get("reason") else ""
    return f"not connected{since}{why}"


def show_suspended(held: list[dict[str, Any]]) -> None:
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("suspended", "since", "why"):
        shown.add_column(column, overflow="fold")
    for each in held:
        named = f"group {each['group']}" if "group" in each else each["thing"]
        shown.add_row(named, when(each["since_ms"]), _why(each))
    console.print(shown if held else "nothing is suspended")


def _why(each: dict[str, Any]) -> str:
    return "; ".join(reason for reason in each["reasons"] if reason)


def when(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")


def _pairs(attributes: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(attributes.items())) or "-"


# Taken away


def taken_away(calls: AwsCalls, name: str) -> Iterator[str]:
    """Take a thing away, with the certificates that are only its; says each step.

    Asked again after it was cut off, it goes on.
    """
    for arn in list(calls.pages("ListThingPrincipals", "principals", thingName=name)):
        certificate_id = arn.rpartition("/")[2]
        things = list(islice(calls.pages("ListPrincipalThings", "things", principal=arn), 2))
        is_shared = things != [name]
        if not is_shared:
            # First: it closes the connection, and it holds wherever the rest is cut off.
            calls("UpdateCertificate", certificateId=certificate_id, newStatus="INACTIVE")
        calls("DetachThingPrincipal", thingName=name, principal=arn)
        if is_shared:
            yield f"certificate {certificate_id[:16]}… is detached: another thing has it too"
            continue
        calls("DeleteCertificate", certificateId=certificate_id, forceDelete=True)
        yield f"certificate {certificate_id[:16]}… is deleted"
    calls("DeleteThing", thingName=name)
    yield f"thing {name} is deleted"
