"""Who has signed, as keys change: what is kept of a key is never older than the key."""

from __future__ import annotations

import hashlib

import pytest

from isthmus.bench.plan import AccessKey
from isthmus.bench.signing import Signer
from isthmus.core import access_keys, sigv4
from isthmus.core.access_keys import ACCESS_KEY, Role
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.signers import Signers, UnknownSigner
from isthmus.core.stamp import StampClock
from isthmus.core.view import View
from isthmus.errors import InputError

KEY = "AKIAABCDEFGHIJKLMNOP"
NOW_S = 1_790_000_000.0


def signed(secret: str) -> sigv4.Request:
    key = AccessKey(key_id=KEY, secret=secret, region="eu")
    head = Signer(key, "eu.test").request(NOW_S, "GET", "/things").decode().strip()
    lines = (each.partition(": ") for each in head.split("\r\n")[1:])
    headers = tuple((name, value) for name, _, value in lines)
    return sigv4.Request("GET", "/things", headers, hashlib.sha256(b"").hexdigest())


class World:
    """A view with one key, and how often its secret was opened."""

    def __init__(self) -> None:
        self.view = View()
        self.writer = Writer(StampClock("eu", "i"), 1_000)
        self.opened = 0
        accepted = sigv4.Accepted(frozenset({"iot"}), frozenset({"eu"}))
        self.signers = Signers(self.view, accepted, self.open)

    def create(self, sealed: str) -> Item:
        item = access_keys.create(Item(ACCESS_KEY, KEY), self.writer, Role.ADMIN, sealed)
        self.view.apply(item)
        return item

    def open(self, sealed: str, purpose: str) -> str:
        self.opened += 1
        return sealed.removeprefix("sealed-")

    def ask(self, secret: str) -> None:
        assert self.signers.signer(signed(secret), NOW_S).key_id == KEY


def test_a_secret_is_opened_once_for_a_version_of_its_key():
    world = World()
    world.create("sealed-a")
    for _ in range(3):
        world.ask("a")
    assert world.opened == 1
    with pytest.raises(InputError, match="not made with the secret"):
        world.ask("b")
    world.create("sealed-b")
    world.ask("b")
    assert world.opened == 2
    with pytest.raises(InputError, match="not made with the secret"):
        world.ask("a")


@pytest.mark.parametrize("change", [access_keys.deactivate, access_keys.delete])
def test_what_is_kept_lets_nobody_in_whose_key_was_taken_away(change):
    world = World()
    item = world.create("sealed-a")
    world.ask("a")
    world.view.apply(change(item, world.writer))
    with pytest.raises(UnknownSigner):
        world.ask("a")
