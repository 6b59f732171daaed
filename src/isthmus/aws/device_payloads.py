"""What a device writes in a request, and reads in an answer: JSON or CBOR, as its topic ends.

Of CBOR there is what JSON has too: no tags, by which a few bytes may mean a huge number or a
pattern to be compiled, and no keys but texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, TypeVar

import cbor2
import msgspec

from isthmus.core.device_topics import JSON
from isthmus.core.undecodable import UNDECODABLE
from isthmus.errors import InputError

T = TypeVar("T")

#: A signing request has 4 KiB at most, and a template's parameters rarely as much.
REQUEST_BYTES_MAX = 64 * 1024
#: Of objects and lists within each other; requests have two.
DEPTH_MAX = 8


def _refuse_tag(*_: Any) -> NoReturn:
    raise ValueError("a tag")


class _NoTags(Mapping[int, Callable[..., Any]]):
    """The decoders of all tags there may be."""

    def __getitem__(self, tag: int) -> Callable[..., Any]:
        return _refuse_tag

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 0


_NO_TAGS = _NoTags()


def read(topic: str, payload: bytes, kind: type[T]) -> T:
    """Read a request that was published to a topic; raises InputError for anything else."""
    if len(payload) > REQUEST_BYTES_MAX:
        raise InputError(f"the request has more than {REQUEST_BYTES_MAX} bytes")
    try:
        if _is_json(topic):
            return msgspec.json.decode(payload, type=kind)
        return msgspec.convert(_cbor(payload), kind)
    except (*UNDECODABLE, cbor2.CBORDecodeError) as error:
        raise InputError(f"the request cannot be read: {error}") from None


def _cbor(payload: bytes) -> Any:
    return cbor2.loads(
        payload,
        semantic_decoders=_NO_TAGS,
        max_depth=DEPTH_MAX,
        allow_duplicate_keys=False,
        strict_hashable_types=True,
    )


def write(topic: str, answer: Mapping[str, Any]) -> bytes:
    """An answer to what was asked on a topic."""
    return msgspec.json.encode(answer) if _is_json(topic) else cbor2.dumps(answer)


def _is_json(topic: str) -> bool:
    return topic.rsplit("/", 1)[-1] == JSON
