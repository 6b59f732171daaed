"""The parts of `isthmus bench api` that need no server: requests, answers, figures."""

from __future__ import annotations

import hashlib

import pytest

from isthmus.bench.api_client import Head
from isthmus.bench.api_metrics import api_metrics, page_growth, per_cpu_s
from isthmus.bench.command import Request, run_api
from isthmus.bench.moto import find_moto
from isthmus.bench.paging import start_and_end_ms
from isthmus.bench.plan import AccessKey, Calling, LoadPlan, Outcome, Paging
from isthmus.bench.signing import Signer
from isthmus.core import sigv4
from isthmus.errors import BrokenInvariant, ConfigError, InputError

NOW_S = 1_790_000_000.0
KEY = AccessKey(key_id="AKIAEXAMPLE", secret="secret", region="eu")
SERVER = ("/opt/moto_server", "5.1.0")


@pytest.mark.parametrize(
    ("method", "path", "query", "body"),
    [
        ("POST", "/things/a-1", "", b'{"a":1}'),
        ("GET", "/things", "maxResults=25&nextToken=ab%2Bc%3D%3D", b""),
        ("DELETE", "/things/a-1", "", b""),
    ],
)
@pytest.mark.parametrize("days", [0, 1])
def test_what_is_sent_is_signed(method, path, query, body, days):
    signer, now_s = Signer(KEY, "eu.test:443"), NOW_S + days * 86_400
    signer.request(NOW_S, "GET", "/")
    head, _, sent = signer.request(now_s, method, path, query, body).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = tuple((name, value) for name, _, value in (each.partition(": ") for each in lines))
    verb, target, version = first.split(" ")
    assert (verb, version, sent) == (method, "HTTP/1.1", body)
    request = sigv4.Request(method, target, headers, hashlib.sha256(sent).hexdigest())
    accepted = sigv4.Accepted(frozenset({"iot"}), frozenset({"eu"}))
    claim = sigv4.read(request, accepted, now_s)
    assert claim.access_key_id == KEY.key_id
    assert claim.is_made_with(KEY.secret)
    assert dict(headers).get("Content-Length", "0") == str(len(body))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (b"Content-Length: 12\r\nServer: x", Head(200, 12, is_last=False)),
        (b"content-length: 0\r\nConnection: close", Head(200, 0, is_last=True)),
    ],
)
def test_an_answer_says_how_long_it_is_and_whether_it_is_the_last(headers, expected):
    assert Head.read(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n\r\n") == expected


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"what\r\nContent-Length: 1\r\n\r\n"])
def test_what_is_no_answer_is_refused(head):
    with pytest.raises(BrokenInvariant, match="an answer begins"):
        Head.read(head)


def test_cpu_is_that_of_all_servers():
    outcome = Outcome(count=600, seconds=2.0, server_cpu={"eu-api": 0.4, "eu-nats": 0.1})
    assert per_cpu_s(outcome) == 600


def test_pages_are_those_of_every_walk_and_never_the_short_one():
    walk = [0.001] * 20 + [0.002] * 19 + [0.004, 0.0]
    outcome = Outcome(page_ms=start_and_end_ms([walk, walk, walk]))
    assert outcome.page_ms == {"first": 1.0, "last": 3.0}
    assert page_growth(outcome) == 3.0
    assert start_and_end_ms([[0.003]]) == {"first": 3.0, "last": 3.0}


def test_metrics_are_the_same_with_and_without_a_peer():
    beside, alone = api_metrics(SERVER, 1_000), api_metrics(None, 1_000)
    assert [each.name for each in beside] == [each.name for each in alone]
    peers = [each.peer and each.peer.name for each in beside]
    assert peers == ["moto", "moto", None, None]
    assert [each.peer for each in alone] == [None] * 4


@pytest.mark.parametrize("load", [Calling(), Paging(things=300)])
def test_calls_need_a_key(load):
    plan = {
        "host": "127.0.0.1",
        "port": 443,
        "hostname": "eu.test",
        "ca_file": "ca.pem",
        "load": load,
        "seconds": 1.0,
        "warm_up_s": 1.0,
        "servers": {},
        "outcome_file": "outcome.json",
    }
    LoadPlan(**plan, access_key=KEY).validate()
    with pytest.raises(ConfigError, match="access_key is missing"):
        LoadPlan(**plan).validate()


def test_a_list_of_one_page_is_refused():
    with pytest.raises(InputError, match="--things is 250"):
        run_api(Request(), None, 250, as_json=True)


def test_where_moto_is_said_to_be_it_has_to_be(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"no file\nTry: pip install 'moto\[server\]'"):
        find_moto(tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_moto(None) is None
    command = tmp_path / "moto_server"
    command.write_text("")
    assert find_moto(command) == (str(command), "unknown")
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\necho moto 5.1.0\n")
    python.chmod(0o700)
    assert find_moto(command) == (str(command), "5.1.0")
