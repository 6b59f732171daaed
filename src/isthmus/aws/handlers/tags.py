"""Tags of resources that have them: add, remove, list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from isthmus.aws import paging, tagging
from isthmus.aws.context import Context
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.paging import Entry
from isthmus.aws.resources import ARN_KINDS, absent, name_in_arn, present, refuse
from isthmus.core import register_map, resource
from isthmus.core.billing_groups import BILLING_GROUP
from isthmus.core.ca_certificates import CA_CERTIFICATE
from isthmus.core.commands import COMMAND
from isthmus.core.domain_configurations import DOMAIN_CONFIGURATION
from isthmus.core.item import Item
from isthmus.core.provisioning_templates import PROVISIONING_TEMPLATE
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
        COMMAND,
        DOMAIN_CONFIGURATION,
        POLICY,
        PROVISIONING_TEMPLATE,
        ROLE_ALIAS,
        THING_GROUP,
        THING_TYPE,
        TOPIC_RULE,
    )
}


class _Resource(NamedTuple):
    """What an ARN names."""

    kind: str
    #: As the ARN has it.
    name: str

    @property
    def key(self) -> str:
        return self.name.partition("/")[0]

    def present(self, context: Context, item: Item) -> Item:
        """The item, if it is the one that is meant; raises ServiceError where it is not."""
        if name_in_arn(present(context, item)) != self.name:
            raise absent(context, item)
        return item


@OPERATIONS.handles("TagResource")
async def tag_resource(context: Context, parameters: Parameters) -> Output:
    given = tagging.given(context, parameters["tags"])
    meant = _resource(context, parameters)

    def tagged(item: Item, writer: Writer) -> Item:
        wanted = _tags(meant.present(context, item)) | given
        if len(wanted) > TAGS_MAX:
            raise tagging.too_many(context)
        return resource.put(item, writer, {}, {TAGS: wanted})

    await context.write(meant.kind, meant.key, tagged)
    return {}


@OPERATIONS.handles("UntagResource")
async def untag_resource(context: Context, parameters: Parameters) -> Output:
    """Of a tag that is not there, nothing is to be done."""
    gone = set(parameters["tagKeys"])
    meant = _resource(context, parameters)

    def untagged(item: Item, writer: Writer) -> Item:
        held = _tags(meant.present(context, item))
        left = {key: value for key, value in held.items() if key not in gone}
        return resource.put(item, writer, {}, {TAGS: left})

    await context.write(meant.kind, meant.key, untagged)
    return {}


@OPERATIONS.handles("ListTagsForResource")
def list_tags_for_resource(context: Context, parameters: Parameters) -> Output:
    meant = _resource(context, parameters)
    held = _tags(meant.present(context, context.get(meant.kind, meant.key)))

    def entries(after: str | None) -> Iterator[Entry]:
        for key, value in held.items():
            if after is None or key > after:
                yield Entry(key, {"Key": key, "Value": value})

    return paging.page(context.call, entries)


def _tags(item: Item) -> dict[str, str]:
    return register_map.values(item, TAGS)


def _resource(context: Context, parameters: Parameters) -> _Resource:
    try:
        kind, name = context.naming.read(parameters["resourceArn"])
    except InputError as error:
        raise refuse(context, str(error)) from None
    if kind not in TAGGED:
        raise refuse(context, f"A {kind} has no tags here")
    return _Resource(TAGGED[kind], name)
