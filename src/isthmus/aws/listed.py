"""Under which paths every kind of item is listed (``core.catalogue``)."""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.core import attachments, registry, thing_types, things
from isthmus.core.catalogue import Listed

#: By kind. The paths are those that the handlers read.
LISTED: Mapping[str, Listed] = {
    registry.ATTACHMENT: attachments.listed,
    things.THING: things.listed,
    thing_types.THING_TYPE: thing_types.listed,
}
