"""The devices of `isthmus bench authorize` may do what is measured, each by its own policies."""

from __future__ import annotations

import pytest

from isthmus.adapters.pki import Pki
from isthmus.bench import authorizing
from isthmus.bench.authorizing import PLAIN, authorize_metrics
from isthmus.bench.stand import DEVICES, clients
from isthmus.core.permissions import Permissions
from isthmus.core.policy_document import parse
from isthmus.core.policy_fields import System
from isthmus.core.policy_lint import Severity, lint
from isthmus.core.view import View
from isthmus.local.bring_up import ACCOUNT


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.mark.parametrize(("names", "count"), [(DEVICES, 4), (PLAIN, 1)])
def test_both_kinds_may_connect_and_publish(pki, names, count):
    view = View()
    for item in authorizing._items(pki):
        view.apply(item)
    permissions = Permissions(ACCOUNT, frozenset({authorizing.HOME}), view)
    for client in clients(pki, names[:2]):
        principal = pki.device(client.client_id).certificate_id
        assert view.refusal(principal) == ""
        rights = permissions.of(principal, client.client_id, "127.0.0.1")
        assert rights.allows("iot:Connect", f"client/{client.client_id}").allowed
        assert rights.allows("iot:Publish", f"topic/{client.topic}").allowed
        assert rights.allows("iot:Publish", "topic/admin/x").allowed is (names == PLAIN)
        assert len(view.policies(principal, client.client_id)) == count


def test_the_policies_are_ones_that_fleets_would_have():
    system = System(ACCOUNT, frozenset({authorizing.HOME}))
    for document in (*authorizing.DOCUMENTS.values(), authorizing.GROUP_DOCUMENT):
        assert parse(document).statements
        assert {each.severity for each in lint(document, system)} <= {Severity.NOTE}


def test_ours_and_the_peer_are_of_one_gateway():
    found = authorize_metrics()
    assert [each.name for each in found] == ["connects_per_s", "publishes_per_s"]
    assert all(each.is_kept and each.peer.name == "allow-all" for each in found)
