"""The handlers of all operations: one module for each noun, all of them imported with this package.

So whoever has OPERATIONS from here has it complete.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from isthmus.aws.operations import OPERATIONS

__all__ = ["OPERATIONS"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
