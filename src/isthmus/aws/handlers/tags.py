"""Tags of resources that have them: add, remove, list."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.aws import paging, tagging
from isthmus.aws.context import Context
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.paging import Entry
from isthmus.aws.resources import ARN_KINDS, existing, present, refuse
from isthmus.core import register_map, resource
from isthmus.core.billing_groups import BILLING_GROUP
from isthmus.core.ca_certificates import CA_CERTIFICATE
from isthmus.core.item import Item
from isthmus.core.registry import POLICY, Writer
from isthmus.core.resource import TAGS, TAGS_MAX
from isthmus.core.settings import ROLE_ALIAS, TOPIC_RULE
from isthmus.core.thing_groups import THING_GROUP
from isthmus.core.thing_types import THING_TYPE
from isthmus.errors import InputError

#: By what an ARN calls them, the kinds of item that may have tags, each under its name.
TAGGED = {
    ARN_KINDS[kind]: kind
    for kind in (
        BILLING_GROUP,
        CA_CERTIFICATE,
        POLICY,
        ROLE_ALIAS,
        THING_GROUP,
        THING_TYPE,
        TOPIC_RULE,
    )
}


@OPERATIONS.handles("TagResource")
async def tag_resource(context: Context, parameters: Parameters) -> Output:
    given = tagging.given(context, parameters["tags"])

    def tagged(item: Item, writer: Writer) -> Item:
        wanted = _tags(present(context, item)) | given
        if len(wanted) > TAGS_MAX:
            raise tagging.too_many(context)
        return resource.put(item, writer, {}, {TAGS: wanted})

    await context.write(*_resource(context, parameters), tagged)
    return {}


@OPERATIONS.handles("UntagResource")
async def untag_resource(context: Context, parameters: Parameters) -> Output:
    """Of a tag that is not there, nothing is to be done."""
    gone = set(parameters["tagKeys"])

    def untagged(item: Item, writer: Writer) -> Item:
        held = _tags(present(context, item))
        left = {key: value for key, value in held.items() if key not in gone}
        return resource.put(item, writer, {}, {TAGS: left})

    await context.write(*_resource(context, parameters), untagged)
    return {}


@OPERATIONS.handles("ListTagsForResource")
def list_tags_for_resource(context: Context, parameters: Parameters) -> Output:
    held = _tags(existing(context, *_resource(context, parameters)))

    def entries(after: str | None) -> Iterator[Entry]:
        for key, value in held.items():
            if after is None or key > after:
                yield Entry(key, {"Key": key, "Value": value})

    return paging.page(context.call, entries)


def _tags(item: Item) -> dict[str, str]:
    return register_map.values(item, TAGS)


def _resource(context: Context, parameters: Parameters) -> tuple[str, str]:
    """Kind and key of what an ARN names."""
    try:
        kind, name = context.naming.read(parameters["resourceArn"])
    except InputError as error:
        raise refuse(context, str(error)) from None
    if kind not in TAGGED:
        raise refuse(context, f"A {kind} has no tags here")
    return TAGGED[kind], name
