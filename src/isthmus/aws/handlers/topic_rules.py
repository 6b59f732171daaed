"""Topic rules: create, read, replace, switch, delete, list. They are stored; nobody executes them.

Of the SQL no more is read than the topic filter that it selects from. A rule that is not there is
answered as one that may not be seen, as on AWS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from isthmus.aws import paging, tagging
from isthmus.aws.context import Context
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.paging import Entry
from isthmus.aws.resources import arn, moment, refuse, vacant
from isthmus.aws.service_error import ServiceError
from isthmus.core import lives, registry, resource
from isthmus.core.item import Item
from isthmus.core.lattice import canonical
from isthmus.core.registry import Writer
from isthmus.core.resource import TAGS
from isthmus.core.settings import DISABLED, RULE, TOPIC_RULE
from isthmus.errors import MalformedPacket
from isthmus.wire import topics

#: AWS's limit for a whole rule.
RULE_BYTES_MAX = 256 * 1024
SQL_VERSIONS = ("2015-10-08", "2016-03-23", "beta")
_SELECT = re.compile(r"\s*SELECT\s", re.IGNORECASE)
_FROM = re.compile(r"""\sFROM\s+(?:'([^']*)'|"([^"]*)")""", re.IGNORECASE)


@OPERATIONS.handles("CreateTopicRule")
async def create_topic_rule(context: Context, parameters: Parameters) -> Output:
    registers = _registers(context, parameters)
    maps = {TAGS: _tags(context, parameters.get("tags", ""))}

    def create(item: Item, writer: Writer) -> Item:
        vacant(context, item)
        return resource.put(item, writer, registers, maps)

    await context.write(TOPIC_RULE, parameters["ruleName"], create)
    return {}


@OPERATIONS.handles("ReplaceTopicRule")
async def replace_topic_rule(context: Context, parameters: Parameters) -> Output:
    registers = _registers(context, parameters)
    return await _change(context, parameters, partial(resource.put, registers=registers, maps={}))


@OPERATIONS.handles("EnableTopicRule")
async def enable_topic_rule(context: Context, parameters: Parameters) -> Output:
    return await _switch(context, parameters, is_disabled=False)


@OPERATIONS.handles("DisableTopicRule")
async def disable_topic_rule(context: Context, parameters: Parameters) -> Output:
    return await _switch(context, parameters, is_disabled=True)


async def _switch(context: Context, parameters: Parameters, *, is_disabled: bool) -> Output:
    switch = partial(resource.put, registers={DISABLED: is_disabled}, maps={})
    return await _change(context, parameters, switch)


@OPERATIONS.handles("DeleteTopicRule")
async def delete_topic_rule(context: Context, parameters: Parameters) -> Output:
    return await _change(context, parameters, registry.delete)


async def _change(
    context: Context, parameters: Parameters, change: Callable[[Item, Writer], Item]
) -> Output:
    def changed(item: Item, writer: Writer) -> Item:
        return change(_seen(item), writer)

    await context.write(TOPIC_RULE, parameters["ruleName"], changed)
    return {}


def _seen(item: Item) -> Item:
    if not item.lives:
        message = f"Access to topic rule '{item.key}' was denied"
        raise ServiceError("UnauthorizedException", message)
    return item


def _registers(context: Context, parameters: Parameters) -> dict[str, Any]:
    """What is written of a rule; raises ServiceError where it could never be executed."""
    payload = dict(parameters["topicRulePayload"])
    is_disabled = payload.pop(DISABLED, False)
    rule = {"awsIotSqlVersion": SQL_VERSIONS[0], **payload}
    if rule["awsIotSqlVersion"] not in SQL_VERSIONS:
        raise refuse(context, f"awsIotSqlVersion is none of {', '.join(SQL_VERSIONS)}")
    for action in (*rule["actions"], *([rule["errorAction"]] if "errorAction" in rule else [])):
        if len(action) != 1:
            raise refuse(context, "Every action is of exactly one kind")
    if len(canonical(rule)) > RULE_BYTES_MAX:
        raise refuse(context, f"The rule has more than {RULE_BYTES_MAX} bytes")
    _topic_filter(rule["sql"])
    return {RULE: rule, DISABLED: is_disabled}


def _topic_filter(sql: str) -> str:
    """What a rule selects from; raises ServiceError where it does not say."""
    found = _FROM.search(sql)
    if not _SELECT.match(sql) or found is None:
        message = "The SQL is not of the form SELECT ... FROM 'topic/filter'"
        raise ServiceError("SqlParseException", message)
    topic_filter = found[1] if found[1] is not None else found[2]
    try:
        topics.validate_filter(topic_filter)
    except MalformedPacket as error:
        message = f"FROM {topic_filter[:128]!r} is not a topic filter: {error}"
        raise ServiceError("SqlParseException", message) from None
    return topic_filter


def _tags(context: Context, text: str) -> dict[str, str]:
    """Tags as a header has them: ``key=value&key=value``."""
    pairs = parse_qsl(text, keep_blank_values=True)
    return tagging.given(context, [{"Key": key, "Value": value} for key, value in pairs])


# Reading


@OPERATIONS.handles("GetTopicRule")
def get_topic_rule(context: Context, parameters: Parameters) -> Output:
    item = _seen(context.get(TOPIC_RULE, parameters["ruleName"]))
    rule = {
        **item.register(RULE),
        "ruleName": item.key,
        DISABLED: item.register(DISABLED),
        "createdAt": moment(lives.created_ms(item)),
    }
    return {"ruleArn": arn(context, item), "rule": rule}


@OPERATIONS.handles("ListTopicRules")
def list_topic_rules(context: Context, parameters: Parameters) -> Output:
    """By name: all of them, or those that a topic concerns, or that are switched on or off."""
    topic, is_disabled = parameters.get("topic"), parameters.get(DISABLED)

    def entries(after: str | None) -> Iterator[Entry]:
        for name in context.listed(TOPIC_RULE, after=after):
            shown = _shown(context, context.get(TOPIC_RULE, name))
            pattern = shown["topicPattern"]
            if topic and not topics.matches(pattern, topic):
                continue
            if is_disabled in (None, shown[DISABLED]):
                yield Entry(name, shown)

    return paging.page(context.call, entries)


def _shown(context: Context, item: Item) -> dict[str, Any]:
    return {
        "ruleArn": arn(context, item),
        "ruleName": item.key,
        "topicPattern": _topic_filter(item.register(RULE)["sql"]),
        "createdAt": moment(lives.created_ms(item)),
        DISABLED: item.register(DISABLED),
    }
