"""Searches of the fleet index."""

from __future__ import annotations

import hashlib
from contextlib import aclosing
from typing import Any

from isthmus.aws import indexing, paging
from isthmus.aws.context import Context
from isthmus.aws.documents import Document
from isthmus.aws.indexing import AWS_THINGS, Index
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.resources import refuse
from isthmus.aws.searching import Search
from isthmus.aws.service_error import ServiceError
from isthmus.core.search import query
from isthmus.core.search.expression import Expression, terms
from isthmus.core.search.query import CHARACTERS_MAX, InvalidQuery

#: AWS's; who asks for more is given as many.
RESULTS_MAX = 100
QUERY_VERSION = "2017-09-30"
#: A page that has looked at so many ends, be it full or not, and the next one goes on.
LOOKED_MAX = 20_000
_MARK_BYTES = 8


@OPERATIONS.handles("SearchIndex")
async def search_index(context: Context, parameters: Parameters) -> Output:
    """By name, or where one list has all that the query may match, in that one's order."""
    index, expression = asked(context, parameters)
    size = min(parameters.get("maxResults", RESULTS_MAX), RESULTS_MAX)
    page, last = await _page(context, Search(context, index, expression), size)
    shown = [each.shown() for each in page]
    output: dict[str, Any] = {"things" if index.has_things else "thingGroups": shown}
    if last is not None:
        output["nextToken"] = paging.token(context.call, f"{_mark(parameters)}{last}")
    return output


async def _page(context: Context, search: Search, size: int) -> tuple[list[Document], str | None]:
    """What a page has, and the key at which it ends if there may be more."""
    page: list[Document] = []
    last = after = _after(context)
    looked = 0
    async with aclosing(search.look(after)) as looking:
        async for key, found in looking:
            if looked == LOOKED_MAX or (found is not None and len(page) == size):
                break
            if found is not None:
                page.append(found)
            last = key
            looked += 1
        else:
            last = None
    await search.connect(page)
    return page, last


def _mark(parameters: Parameters) -> str:
    """Of what a token is for: a key says nothing in the list of another query."""
    named = "\0".join((parameters.get("indexName", AWS_THINGS), parameters["queryString"]))
    return hashlib.blake2b(named.encode(), digest_size=_MARK_BYTES).hexdigest()


def _after(context: Context) -> str | None:
    parameters = context.call.parameters
    found = paging.key(context.call, parameters.get("nextToken"))
    if found is None:
        return None
    mark = _mark(parameters)
    if not found.startswith(mark):
        raise refuse(context, "nextToken was from a request with different parameters")
    return found.removeprefix(mark)


def asked(context: Context, parameters: Parameters) -> tuple[Index, Expression]:
    """The index that is asked, and the query; raises ServiceError for what is none."""
    text = parameters["queryString"]
    if len(text) > CHARACTERS_MAX:
        raise refuse(context, f"queryString has {len(text)} characters, of {CHARACTERS_MAX}")
    if parameters.get("queryVersion", QUERY_VERSION) != QUERY_VERSION:
        raise refuse(context, f"Invalid queryVersion. Expected one of: [{QUERY_VERSION}]")
    index = indexing.named(context, parameters.get("indexName", AWS_THINGS))
    try:
        expression = query.parse(text)
    except InvalidQuery as error:
        raise ServiceError("InvalidQueryException", str(error)) from None
    index.check(term.field for term in terms(expression) if term.field is not None)
    return index, expression
