"""The document of a shadow as a lattice: a tree of which every path is merged for itself.

A path knows its greatest *cut*, the write of a scalar, an array or nothing there, and its greatest
*obj*, the write of an object there. The join takes the greater of each. What is below a path, or is
an object there, dies under a greater cut and is pruned, so that a tree holds what still matters and
no more. A node is an object if and only if ``obj > cut``.

So the document is what one region would hold that had taken all writes in the order of their
stamps. Of two regions that were apart both sides' leaves survive, and of one leaf the later write;
what one side took away and the other left alone is gone. To take the whole shadow away is a cut at
the root: a later update begins anew with its own leaves, an earlier one is gone with the rest.

A cut that took something away stays, as another region may not have heard of it, until there is a
greater one above it: of the section, or of the whole shadow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple

import msgspec

from isthmus.core.stamp import Stamp

#: A stamp, and beside it the number of the write among those of its region and incarnation.
Mark = tuple[int, int, str, str, Annotated[int, msgspec.Meta(gt=0)]]
NEVER: Mark = (0, 0, "", "", 0)


class Node(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is known of one path."""

    cut: Mark = NEVER
    obj: Mark = NEVER
    #: What the cut put there; None where it took something away, or where an object is now.
    value: Any = None
    nodes: dict[str, Node] = {}

    @property
    def is_object(self) -> bool:
        return self.obj > self.cut

    @property
    def newest(self) -> Mark:
        """What was said of this path last, whatever is below it."""
        return max(self.cut, self.obj)


_NOTHING = Node()


class Said(NamedTuple):
    """One write of one path, as conflicts name it: an object is ``{}``, and nothing is None."""

    path: str
    mark: Mark
    value: Any

    @property
    def stamp(self) -> Stamp:
        return Stamp(*self.mark[:4])

    @property
    def dot(self) -> str:
        _, _, region, incarnation, count = self.mark
        return f"{region}.{incarnation}:{count}"


class ShadowTree(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A document, and how often each actor has deleted it.

    A deletion is a write like any other to the item's version vector, and is none to AWS's clients:
    what is created afterwards has the next version.
    """

    root: Node = _NOTHING
    deletes: dict[str, Annotated[int, msgspec.Meta(gt=0)]] = {}
    tag = "shadow"

    def join(self, other: ShadowTree) -> ShadowTree:
        deletes = {
            actor: max(self.deletes.get(actor, 0), other.deletes.get(actor, 0))
            for actor in {**self.deletes, **other.deletes}
        }
        return ShadowTree(_join(self.root, other.root, NEVER) or _NOTHING, deletes)

    def encode(self) -> ShadowTree:
        return self

    def updated(self, document: Mapping[str, Any], mark: Mark) -> ShadowTree:
        """After a write of an object; the mark is greater than all that are here.

        Objects are merged, null takes away, and whatever else is there is replaced.
        """
        root = _merged(self.root, document, mark)
        # The shadow is there now, even where nothing is in it.
        return ShadowTree(Node(root.cut, mark, None, root.nodes), self.deletes)

    def deleted(self, actor: str, mark: Mark) -> ShadowTree:
        """After a deletion; the mark is greater than all that are here."""
        count = self.deletes.get(actor, 0) + 1
        return ShadowTree(Node(cut=mark), {**self.deletes, actor: count})

    def contests(self, other: ShadowTree, path: str = "") -> Iterator[tuple[Said, Said]]:
        """Pairs of what stands here and there, of which one must give way to the other."""
        return _contests(self.root, other.root, path)


def mark(stamp: Stamp, dot: str) -> Mark:
    """The mark of a write."""
    return (*stamp, int(dot.rpartition(":")[2]))


def read(raw: Any) -> ShadowTree:
    """A tree from its encoded form; raises ValueError for anything else."""
    try:
        return msgspec.convert(raw, ShadowTree)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


# The join


def _join(one: Node, other: Node, above: Mark) -> Node | None:
    """Both, under the greatest cut above them; None where nothing of them is left."""
    later = _later(one, other)
    obj = max(one.obj, other.obj)
    cut = NEVER if later.cut < above else later.cut
    if obj < max(above, cut):
        obj = NEVER
    value = later.value if cut != NEVER and obj <= cut else None
    nodes, below = {}, max(above, cut)
    # In an order that does not depend on the process, as sets have it.
    for name in {**one.nodes, **other.nodes}:
        node = _join(one.nodes.get(name, _NOTHING), other.nodes.get(name, _NOTHING), below)
        if node is not None:
            nodes[name] = node
    if cut == NEVER and obj == NEVER and not nodes:
        return None
    return Node(cut, obj, value, nodes)


def _later(one: Node, other: Node) -> Node:
    """Whose cut it is that stands."""
    if one.cut != other.cut:
        return one if one.cut > other.cut else other
    # A mark names one write; should a bug make two of it, the greater bytes win everywhere alike.
    return max(one, other, key=lambda node: _text(node.value))


def _text(value: Any) -> bytes:
    """Equal where values are: to Python, 1 and true are equal as well."""
    return msgspec.json.encode(value, order="sorted")


# A write, which is greater than all that is there


def _merged(node: Node, document: Mapping[str, Any], mark: Mark) -> Node:
    """After a write of an object.

    One in which there is nothing but null makes no object where there is none: AWS's shadow manager
    of Greengrass, which is to come to the documents that AWS IoT comes to, does it so.
    """
    nodes, makes_object = dict(node.nodes), not document
    for name, value in document.items():
        if type(value) is dict:
            merged = nodes[name] = _merged(nodes.get(name, _NOTHING), value, mark)
            makes_object |= merged.obj == mark
        else:
            # What was below is cut with it.
            nodes[name] = Node(mark, NEVER, value)
            makes_object |= value is not None
    if makes_object:
        return Node(node.cut, mark, None, nodes)
    return Node(node.cut, node.obj, node.value, nodes)


# Conflicts


def _stands(node: Node, path: str) -> Said | None:
    if node.newest == NEVER:
        return None
    return Said(path, node.newest, {} if node.is_object else node.value)


def _contests(
    mine: Node,
    theirs: Node,
    path: str,
    cuts: tuple[Said, Said] = (Said("", NEVER, None), Said("", NEVER, None)),
) -> Iterator[tuple[Said, Said]]:
    """``cuts`` are the greatest ones above, of each side."""
    one, other = _stands(mine, path), _stands(theirs, path)
    if one is not None and other is not None and _text(one.value) != _text(other.value):
        loser = mine if one.mark < other.mark else theirs
        # What is in an object that is lost is listed for itself.
        if not loser.is_object or not loser.nodes:
            yield one, other
    if one is not None and _is_leaf(mine) and one.mark < cuts[1].mark:
        yield one, cuts[1]
    if other is not None and _is_leaf(theirs) and other.mark < cuts[0].mark:
        yield cuts[0], other
    below = _greater(cuts[0], mine, path), _greater(cuts[1], theirs, path)
    for name in {**mine.nodes, **theirs.nodes}:
        pair = mine.nodes.get(name, _NOTHING), theirs.nodes.get(name, _NOTHING)
        yield from _contests(*pair, f"{path}/{_escaped(name)}", below)


def _escaped(name: str) -> str:
    """A name as RFC 6901 has it in a path, where a slash is between names."""
    return name.replace("~", "~0").replace("/", "~1")


def _is_leaf(node: Node) -> bool:
    """Whether something is there that is not in what is below."""
    return not node.nodes if node.is_object else node.value is not None


def _greater(above: Said, node: Node, path: str) -> Said:
    return Said(path, node.cut, node.value) if node.cut > above.mark else above
