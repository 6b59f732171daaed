"""The record of what clients saw: order, threads, torn lines, a disk that fails."""

from __future__ import annotations

import errno
import io
import json
import threading
import time
from collections import defaultdict

import pytest

from isthmus.fleet.events import Event, EventLog, read_events


def test_an_event_is_one_line_that_says_no_more_than_it_must(tmp_path):
    path = tmp_path / "plain.jsonl"
    with EventLog(path) as log:
        log.record("a", "sent", seq=1)
        log.record("a", "lost", region="eu", how="reset")
    lines = [json.loads(each) for each in path.read_text().splitlines()]
    assert [sorted(each) for each in lines] == [
        ["client", "event", "seq", "t"],
        ["client", "event", "how", "region", "t"],
    ]
    assert [each.event for each in read_events(path)] == ["sent", "lost"]


def test_it_is_written_while_nothing_else_happens(tmp_path):
    path = tmp_path / "plain.jsonl"
    with EventLog(path) as log:
        log.record("a", "sent", seq=1)
        give_up_s = time.monotonic() + 10
        while not path.stat().st_size and time.monotonic() < give_up_s:
            time.sleep(0.01)
        assert [each.seq for each in read_events(path)] == [1]


def test_threads_keep_their_order(tmp_path):
    path = tmp_path / "plain.jsonl"
    with EventLog(path) as log:

        def tell(client):
            for seq in range(2000):
                log.record(client, "sent", seq=seq)

        threads = [threading.Thread(target=tell, args=(f"client-{n}",)) for n in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    seen = defaultdict(list)
    for event in read_events(path):
        seen[event.client].append(event.seq)
    assert dict(seen) == {f"client-{n}": list(range(2000)) for n in range(4)}


def test_a_line_that_is_still_being_written_is_left_out(tmp_path):
    path = tmp_path / "plain.jsonl"
    path.write_bytes(b'{"t": 1.5, "client": "a", "event": "acked", "seq": 3}\n{"t": 1.6, "cl')
    assert list(read_events(path)) == [Event(1.5, "a", "acked", 3)]


class FullDisk(io.RawIOBase):
    """A file on a disk that has no room left."""

    def write(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_story_with_a_hole_is_an_error(tmp_path):
    log = EventLog(tmp_path / "plain.jsonl")

    def run() -> None:
        with log:
            log._file.close()
            log._file = FullDisk()
            log.record("a", "sent", seq=1)

    with pytest.raises(OSError, match="No space left"):
        run()


def test_it_does_not_hide_what_went_wrong_before(tmp_path):
    with pytest.raises(ZeroDivisionError), EventLog(tmp_path / "plain.jsonl"):
        raise ZeroDivisionError
