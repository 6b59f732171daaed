"""Trees of shadows that nobody has written, and that are to be joined all the same."""

from __future__ import annotations

from hypothesis import strategies as st

from isthmus.core.shadow_tree import NEVER, Node, ShadowTree

VALUES = st.none() | st.booleans() | st.integers(0, 2) | st.just([1])
MARKS = st.just(NEVER) | st.tuples(
    st.integers(0, 3), st.just(0), st.sampled_from(["eu", "us"]), st.just("i"), st.integers(1, 2)
)
NODES = st.recursive(
    st.builds(Node, MARKS, MARKS, VALUES),
    lambda inner: st.builds(
        Node, MARKS, MARKS, VALUES, st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=6,
)
TREES = st.builds(
    lambda root, deletes: ShadowTree(root, deletes).join(ShadowTree()),
    NODES,
    st.dictionaries(st.sampled_from(["eu.i", "us.i"]), st.integers(1, 3)),
)
