"""What is raised for bytes that are not what was asked for.

Besides msgspec's own errors these are Python's, which pass through it: of text that is not UTF-8,
and of values nested too deep. Whoever reads what another process wrote catches all of them.
"""

from __future__ import annotations

import msgspec

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
