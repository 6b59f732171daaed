"""The handlers of what devices ask on reserved topics, all of them imported with this package.

So whoever has DEVICE_QUESTIONS from here has it complete.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from isthmus.aws.device_questions import DEVICE_QUESTIONS

__all__ = ["DEVICE_QUESTIONS"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
