"""What the keys of a region may call, as they change."""

from __future__ import annotations

import pytest
from region_settings import REGION

from isthmus.adapters.sealing import KEY_BYTES, Sealing
from isthmus.aws import models
from isthmus.aws.requests import HttpRequest, read
from isthmus.aws_server.callers import Caller, Callers, Refused
from isthmus.core import access_keys
from isthmus.core.access_keys import ACCESS_KEY, Role
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.stamp import StampClock
from isthmus.core.view import View

KEY = "AKIAABCDEFGHIJKLMNOP"


def test_a_role_is_that_of_the_key_as_it_is_now():
    view, writer = View(), Writer(StampClock("eu", "i"), 1_000)
    callers = Callers(REGION, view, Sealing(bytes(KEY_BYTES)))
    iot = models.service(models.IOT)
    caller = Caller(KEY, iot)
    delete = read(iot, HttpRequest("DELETE", "/things/a", (), b""))

    def make(role: Role) -> None:
        view.apply(access_keys.create(Item(ACCESS_KEY, KEY), writer, role, "sealed"))

    with pytest.raises(Refused):
        callers.authorize(caller, delete)
    make(Role.ADMIN)
    for _ in range(2):
        callers.authorize(caller, delete)
    make(Role.READ_ONLY)
    for _ in range(2):
        with pytest.raises(Refused, match="DeleteThing"):
            callers.authorize(caller, delete)
