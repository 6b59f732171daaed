"""Which policies are attached to a certificate or a group, and to which of them a policy is.

A contested attachment is one too: what the policy denies counts.
"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.aws.context import Context
from isthmus.core import attachments, registry
from isthmus.core.attachments import BY_PRINCIPAL, BY_TARGET, END
from isthmus.core.item import Item
from isthmus.core.registry import ATTACHMENT, POLICY


def key(policy: str, principal: Item) -> str:
    """The key of the attachment of a policy to a certificate or a group."""
    text = registry.principal_text(principal.kind, principal.key)
    return registry.attachment_key(f"{POLICY}:{policy}", text)


def policies(context: Context, principal: Item, after: str | None = None) -> Iterator[Item]:
    """The policies of a certificate or a group, by name, behind one of them."""
    prefix = attachments.names(principal.kind, principal.key, POLICY)
    for name in _listed(context, BY_PRINCIPAL, prefix, after):
        policy = context.get(POLICY, name)
        if _is_attached(context, policy, principal):
            yield policy


def targets(context: Context, policy: Item, after: str | None = None) -> Iterator[Item]:
    """The certificates and groups that a policy is attached to, behind one of them.

    In the order of ``order``.
    """
    prefix = attachments.names(POLICY, policy.key)
    for name in _listed(context, BY_TARGET, prefix, after):
        principal = context.get(*name.split(END))
        if _is_attached(context, policy, principal):
            yield principal


def order(principal: Item) -> str:
    """What targets of a policy are sorted by."""
    return f"{principal.kind}{END}{principal.key}"


def _listed(context: Context, path: str, prefix: str, after: str | None) -> Iterator[str]:
    behind = None if after is None else f"{prefix}{after}"
    for name in context.beginning(path, prefix=prefix, after=behind):
        yield name.removeprefix(prefix)


def _is_attached(context: Context, policy: Item, principal: Item) -> bool:
    item = context.get(ATTACHMENT, key(policy.key, principal))
    return any(each.holds_for(policy, principal) for each in registry.attaches(item))
