"""Reserved topics on which devices ask their region, and those on which they are answered.

What is published to such a topic is a request and no message: nobody receives it, it is in no
stream and in no lake, and it may not be a will. Its answers are for the connection that has asked
and for nobody else, as on AWS; that a shadow is another one, everybody may hear, by a message.
Whether a device may publish to the one, subscribe to the other and receive from it is for
policies to say, as it is of any topic.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import zip_longest
from typing import NamedTuple

from isthmus.core import shadow_topics
from isthmus.wire.topics import matches

JSON, CBOR = "json", "cbor"
#: Levels at the beginning of a filter in which there may be no wildcard.
LITERAL = 2
#: Topics that are remembered with what is asked on them: each publish is looked at several times.
ASKED_LATELY_MAX = 4096


class Question(NamedTuple):
    """What is asked on some topics."""

    #: Filters of the topics of requests, and of those of answers.
    asked: tuple[str, ...]
    answered: tuple[str, ...]
    #: Whether nothing but the region is waited for, so that many may be asked together; those that
    #: are about one thing are then carried out in their order.
    is_quick: bool = False

    def may_answer(self, topic_filter: str) -> bool:
        """Whether there may be an answer for who subscribes to a filter."""
        return any(_meet(topic_filter, each) for each in self.answered)


def _in_both_formats(root: str) -> Question:
    asked = tuple(f"{root}/{each}" for each in (JSON, CBOR))
    return Question(
        asked, tuple(f"{topic}/{last}" for topic in asked for last in ("accepted", "rejected"))
    )


#: Developer guide, "Device provisioning MQTT API".
CREATE_CERTIFICATE = _in_both_formats("$aws/certificates/create")
CREATE_FROM_CSR = _in_both_formats("$aws/certificates/create-from-csr")
PROVISION = _in_both_formats("$aws/provisioning-templates/+/provision")
#: Developer guide, "Commands topics": here the format comes last in answers too.
_REPORT = "$aws/commands/+/+/executions/+/response"
REPORT_COMMAND = Question(
    tuple(f"{_REPORT}/{each}" for each in (JSON, CBOR)),
    tuple(f"{_REPORT}/{last}/{each}" for last in ("accepted", "rejected") for each in (JSON, CBOR)),
)
SHADOW = Question(shadow_topics.ASKED, shadow_topics.TOLD, is_quick=True)
QUESTIONS = (CREATE_CERTIFICATE, CREATE_FROM_CSR, PROVISION, REPORT_COMMAND, SHADOW)


@lru_cache(ASKED_LATELY_MAX)
def question(topic: str) -> Question | None:
    """What a publish to a topic asks; None of any topic that is no request's."""
    for topic_filter, each in _ASKED.get(_head(topic), ()):
        if matches(topic_filter, topic):
            return each
    return None


def about(topic: str) -> str:
    """What a request is about: the topic without its last level, which says what is asked."""
    return topic.rpartition("/")[0]


def _head(topic: str) -> str:
    """The levels in which no filter of a question has a wildcard."""
    return "/".join(topic.split("/", LITERAL)[:LITERAL])


_ASKED: dict[str, list[tuple[str, Question]]] = {}
for _question in QUESTIONS:
    for _filter in _question.asked:
        _ASKED.setdefault(_head(_filter), []).append((_filter, _question))


def may_be_answered(topic_filter: str) -> bool:
    """Whether there may be an answer to anything for who subscribes to a filter.

    It says what it is about: there is nothing under ``$aws/#``.
    """
    return any(each.may_answer(topic_filter) for each in QUESTIONS)


def _meet(one: str, other: str) -> bool:
    """Whether some topic matches both filters, of which only the first may end in ``#``."""
    pairs = list(zip_longest(one.split("/"), other.split("/")))
    if any(level != known for level, known in pairs[:LITERAL]):
        return False
    for level, known in pairs[LITERAL:]:
        if known is None:
            return False
        if level == "#":
            return True
        if level is None or (level != known and "+" not in (level, known)):
            return False
    return True
