"""What DNS says for a route: complete, never empty, and newer for a newer plan."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.routing import EPOCH_MAX
from isthmus.core.zone import (
    Endpoint,
    Plan,
    SiteHost,
    Zone,
    check_older_plan_has_older_serial,
    check_zone_never_empty,
    is_older,
    zone_of,
)
from isthmus.errors import BrokenInvariant

APEX = "iot.example.com"
PLAN = Plan(
    apex=APEX,
    ttl_s=1,
    endpoints=(
        Endpoint("eu", f"eu.{APEX}", "127.0.1.1", 8883),
        Endpoint("us", f"us.{APEX}", "::1", 9883, "127.0.2.9"),
    ),
    sites=(SiteHost("eu", "127.0.1.1"), SiteHost("witness", "ns.example.net")),
)


def said(zone: Zone) -> dict[tuple[str, str], tuple[str, ...]]:
    return {(each.name, each.type): each.data for each in zone.records}


def test_the_stable_name_follows_the_route_and_the_regions_own_names_do_not():
    at_eu, at_us = said(zone_of(PLAN, "eu", 1)), said(zone_of(PLAN, "us", 2))
    assert at_eu[APEX, "A"] == ("127.0.1.1",)
    assert at_eu[f"_secure-mqtt._tcp.{APEX}", "SRV"] == (f"0 0 8883 eu.{APEX}.",)
    assert (APEX, "A") not in at_us
    assert at_us[APEX, "AAAA"] == ("::1",)
    assert at_us[f"_secure-mqtt._tcp.{APEX}", "SRV"] == (f"0 0 9883 us.{APEX}.",)
    for zone in (at_eu, at_us):
        assert zone[f"eu.{APEX}", "A"] == ("127.0.1.1",)
        assert zone[f"_secure-mqtt._tcp.us.{APEX}", "SRV"] == (f"0 0 9883 us.{APEX}.",)


def test_each_name_has_the_api_of_the_same_region_beside_it():
    at_eu, at_us = said(zone_of(PLAN, "eu", 1)), said(zone_of(PLAN, "us", 2))
    assert at_eu[f"api.{APEX}", "A"] == ("127.0.1.1",)
    assert at_us[f"api.{APEX}", "A"] == ("127.0.2.9",)
    for zone in (at_eu, at_us):
        assert zone[f"api.eu.{APEX}", "A"] == ("127.0.1.1",)
        assert zone[f"api.us.{APEX}", "A"] == ("127.0.2.9",)
        assert (f"api.us.{APEX}", "AAAA") not in zone


def test_every_site_has_a_nameserver_record_and_glue_where_only_we_know_its_address():
    zone = said(zone_of(PLAN, "eu", 7))
    assert zone[APEX, "NS"] == (f"ns-eu.{APEX}.", "ns.example.net.")
    assert zone[f"ns-eu.{APEX}", "A"] == ("127.0.1.1",)
    assert zone[APEX, "SOA"] == (f"ns-eu.{APEX}. hostmaster.{APEX}. 7 60 10 604800 1",)


@given(st.integers(1, EPOCH_MAX), st.integers(1, EPOCH_MAX))
def test_the_order_of_serials_is_the_order_of_epochs(one, other):
    old, new = zone_of(PLAN, "us", one), zone_of(PLAN, "eu", other)
    assert is_older(old.serial, new.serial) == (one < other)
    check_older_plan_has_older_serial(old, new, one, other)


def test_serials_are_compared_on_a_circle():
    assert is_older(2**32 - 1, 0)
    assert not is_older(0, 2**32 - 1)
    with pytest.raises(BrokenInvariant, match="not newer"):
        check_older_plan_has_older_serial(zone_of(PLAN, "eu", 2), zone_of(PLAN, "eu", 1), 2, 3)


def test_a_zone_is_never_empty():
    with pytest.raises(BrokenInvariant, match="nobody knows"):
        zone_of(PLAN, "mars", 3)
    with pytest.raises(BrokenInvariant, match="empty"):
        zone_of(replace(PLAN, sites=()), "eu", 3)
    whole = zone_of(PLAN, "eu", 3)
    for missing in (each for each in whole.records if each.name in (APEX, f"api.{APEX}")):
        rest = tuple(each for each in whole.records if each is not missing)
        with pytest.raises(BrokenInvariant, match="empty"):
            check_zone_never_empty(replace(whole, records=rest))
