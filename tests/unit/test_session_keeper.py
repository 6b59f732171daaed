"""A client gets everything that was published to it, whichever gateway process it connects to."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mqtt_sessions import Rights, sent

from isthmus.core import sessions
from isthmus.core.connecting import begin
from isthmus.core.log_view import LogView
from isthmus.core.place import Owed, Place
from isthmus.core.returning import AHEAD_MAX, Returning
from isthmus.core.session import Granted, Remember, Send, Session
from isthmus.core.session_keeper import IDLE_MS, Beginning, SessionKeeper
from isthmus.core.sessions import PROGRESS, SESSION
from isthmus.wire import packets
from isthmus.wire.packets import Connect, Filter, Publish, Will

PERSISTENT = Connect("car", clean_session=False)
CLEAN = Connect("car")


class Process:
    """A gateway process with one client, one stream, and a log that everybody shares."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.view = LogView()
        for item in world.log:
            self.view.join(item)
        self.keeper: SessionKeeper[str] = SessionKeeper("eu", f"g{number}", self.view, ["eu"])
        self.place = Place(len(world.stream), world.id(len(world.stream)))

    def deliver(self, returning: Returning | None, session: Session | None) -> list[Publish]:
        """What is new in the stream, to who is given it live."""
        found: list[Publish] = []
        while self.place.sequence < len(self.world.stream):
            sequence = self.place.sequence + 1
            if session and not (returning and "eu" in returning.behind):
                for at, payload in enumerate(self.world.stream[sequence - 1]):
                    owed = Owed("eu", sequence, self.world.id(sequence), at)
                    found += self.world.told(session.deliver(Publish("t", payload, 1), owed=owed))
            self.place = Place(sequence, self.world.id(sequence))
        return found


@dataclass
class World:
    """The client's side of it: what it was sent and has acknowledged."""

    stream: list[list[bytes]] = field(default_factory=list)
    log: list = field(default_factory=list)
    got: list[bytes] = field(default_factory=list)
    in_hand: list[Publish] = field(default_factory=list)
    published: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.started = self.tellings = 0
        self.session: Session | None = None
        self.returning: Returning | None = None
        self.connections = 0
        self.restart()

    @staticmethod
    def id(sequence: int) -> str:
        return f"w:{sequence}" if sequence else ""

    @staticmethod
    def told(actions: list) -> list[Publish]:
        data = b"".join(each.data for each in actions if isinstance(each, Send))
        return [each for each in sent(data) if isinstance(each, Publish)]

    def restart(self) -> None:
        """The process is killed; another one begins with what is stored."""
        self.started += 1
        self.session = self.returning = None
        self.in_hand = []
        self.process = Process(self, self.started)

    def carry(self, item) -> None:
        if item is not None:
            self.log.append(item)

    def connect(self) -> bool:
        self.leave()
        keeper = self.process.keeper
        self.connections += 1
        self.session = begin(PERSISTENT, Rights(), 60)
        beginning = keeper.begin(
            f"c{self.connections}",
            f"c{self.connections}",
            PERSISTENT,
            self.session,
            {"eu": self.process.place},
            self.connections,
        )
        self.carry(beginning.item)
        held = keeper.held("car", f"c{self.connections}")
        self.returning = held.returning
        if not beginning.is_present:
            (_, remember) = self.session.handle(packets.Subscribe(1, (Filter("t", 1),)))
            assert isinstance(remember, Remember)
            self.carry(keeper.change("car", f"c{self.connections}", remember.filters))
        return beginning.is_present

    def leave(self) -> None:
        if self.session is None:
            return
        keeper = self.process.keeper
        places = {"eu": self.process.place}
        leaving = keeper.leave("car", f"c{self.connections}", places, self.connections)
        self.carry(leaving.item)
        keeper.is_safe(leaving)
        self.session = self.returning = None
        self.in_hand = []

    def publish(self, count: int) -> None:
        payloads = [str(len(self.published) + each).encode() for each in range(count)]
        self.published += payloads
        self.stream.append(payloads)

    def run(self) -> None:
        """Deliver, and read for the client, as far as it takes."""
        self.in_hand += self.process.deliver(self.returning, self.session)
        returning, session = self.returning, self.session
        if returning is None or session is None or session.backlog:
            return
        while returning.owed and not returning.is_full:
            owed = returning.owed.pop(0)
            payload = self.stream[owed.sequence - 1][owed.at]
            self.in_hand += self.told(session.deliver(Publish("t", payload, 1), owed=owed))
        if "eu" not in returning.after:
            returning.locate("eu", returning.places["eu"])
        returning.begin_reading("eu")
        for sequence in range(returning.after["eu"] + 1, self.process.place.sequence + 1):
            if returning.begin_batch("eu", sequence):
                for at, payload in enumerate(self.stream[sequence - 1]):
                    owed = returning.take("eu", sequence, self.id(sequence), at)
                    if owed:
                        said = session.deliver(Publish("t", payload, 1), owed=owed)
                        self.in_hand += self.told(said)
                returning.end_batch("eu", sequence, self.id(sequence))
        returning.reached("eu", self.process.place.sequence)
        if returning.is_level:
            self.process.keeper.held("car", f"c{self.connections}").returning = None
            self.returning = None

    def acknowledge(self, count: int) -> None:
        if self.session is None:
            return
        now, self.in_hand = self.in_hand[:count], self.in_hand[count:]
        for each in now:
            self.got.append(each.payload)
            self.in_hand += self.told(self.session.handle(packets.Puback(each.packet_id)))

    def tell(self) -> None:
        self.tellings += 1
        # Now and then it is long enough since the last time.
        now_ms = self.tellings * IDLE_MS // 3
        self.carry(self.process.keeper.progress({"eu": self.process.place}, now_ms))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(1, 90)),
        st.tuples(st.just("acknowledge"), st.integers(1, 200)),
        st.tuples(st.sampled_from(["connect", "leave", "run", "tell"])),
        st.tuples(st.just("restart")),
    ),
    max_size=40,
)


def drain(world: World) -> None:
    assert world.connect()
    for _ in range(200):
        world.run()
        world.acknowledge(1_000)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_everything_published_to_a_client_reaches_it_whatever_is_killed_when(steps):
    world = World()
    assert not world.connect()
    for name, *arguments in steps:
        getattr(world, name)(*arguments)
    drain(world)
    assert set(world.got) == set(world.published)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_while_no_process_dies_what_was_acknowledged_never_comes_again_and_order_is_kept(steps):
    world = World()
    world.connect()
    for name, *arguments in steps:
        if name != "restart":
            getattr(world, name)(*arguments)
    drain(world)
    assert world.got == world.published


def keeper(view: LogView | None = None) -> SessionKeeper[str]:
    return SessionKeeper("eu", "g", view or LogView(), ["eu", "us"])


def started(each: SessionKeeper[str], name: str, connect: Connect, now_ms: int = 0) -> Beginning:
    session = begin(connect, Rights(), 60)
    return each.begin(name, name, connect, session, {"eu": Place(), "us": Place()}, now_ms)


def test_nobody_hears_of_a_session_that_ends_with_its_connection():
    each = keeper()
    assert started(each, "c1", CLEAN) == Beginning()
    assert each.leave("car", "c1", {}, 1) is None
    assert each.progress({"eu": Place(1, "w:1")}, 1) is None


def test_the_others_know_a_will_and_whose_it_is():
    view = LogView()
    connect = Connect("car", will=Will("t", b"gone"))
    beginning = started(keeper(view), "c1", connect)
    assert beginning.is_promise
    assert sessions.read(view.get(SESSION, "car")).owner.will.payload == b"gone"


def test_a_new_session_is_a_promise_and_an_older_one_was():
    each = keeper()
    assert started(each, "c1", PERSISTENT).is_promise
    each.leave("car", "c1", {"eu": Place(), "us": Place()}, 1)
    again = started(each, "c2", PERSISTENT)
    assert again.is_present
    assert not again.is_promise


def test_a_clean_session_ends_one_that_lasted_and_says_so():
    view = LogView()
    each = keeper(view)
    started(each, "c1", PERSISTENT)
    each.change("car", "c1", {"t": Granted(1)})
    each.leave("car", "c1", {}, 1)
    assert started(each, "c2", CLEAN).item is not None
    assert sessions.read(view.get(SESSION, "car")).is_over(2)
    each.leave("car", "c2", {}, 2)
    assert not started(each, "c3", PERSISTENT).is_present


@pytest.mark.parametrize(
    ("principal", "denied", "goes_on"),
    [("one", "topicfilter/t", True), ("other", "nothing", True), ("other", "topicfilter/t", False)],
)
def test_a_session_goes_on_under_another_principal_that_may_have_its_filters(
    principal, denied, goes_on
):
    view = LogView()
    each = keeper(view)
    places = {"eu": Place(), "us": Place()}
    each.begin("c1", "c1", PERSISTENT, begin(PERSISTENT, Rights(), 60), places, 0, "one")
    each.change("car", "c1", {"s": Granted(1), "t": Granted(1)})
    each.leave("car", "c1", places, 1)
    session = begin(PERSISTENT, Rights(denied), 60)
    again = each.begin("c2", "c2", PERSISTENT, session, places, 2, principal)
    assert again.is_present == goes_on
    assert set(session.subscriptions) == ({"s", "t"} if goes_on else set())
    assert set(sessions.read(view.get(SESSION, "car")).filters) == set(session.subscriptions)


def test_whoever_connects_elsewhere_has_taken_over():
    here, there = LogView(), LogView()
    older = keeper(here)
    newer = SessionKeeper("us", "g2", there, ["eu", "us"])
    there.join(started(older, "c1", PERSISTENT).item)
    assert older.taken_over(here.get(SESSION, "car")) is None
    here.join(started(newer, "c9", PERSISTENT).item)
    assert older.taken_over(here.get(SESSION, "car")) == "c1"
    assert not older.is_ours("car", "c1")
    assert older.leave("car", "c1", {}, 1) is None
    assert newer.is_ours("car", "c9")


def test_of_two_regions_that_do_not_hear_of_each_other_the_one_it_came_to_last_holds():
    """However often it had come to the other one, and begun anew there."""
    here, there = LogView(), LogView()
    before = keeper(here)
    for number, connect in enumerate((PERSISTENT, CLEAN, PERSISTENT)):
        started(before, f"c{number}", connect, 1_000 + number)
    after = SessionKeeper("us", "g2", there, ["eu", "us"])
    started(after, "c9", PERSISTENT, 2_000)
    after.change("car", "c9", {"t": Granted(1)})

    here.join(there.get(SESSION, "car"))

    assert before.taken_over(here.get(SESSION, "car")) == "c2"
    assert sessions.read(here.get(SESSION, "car")).filters == {"t": Granted(1)}


def test_progress_passes_nobody_over():
    view = LogView()
    each = keeper(view)
    started(each, "c1", PERSISTENT)
    places = {"eu": Place(9, "w:9"), "us": Place(4, "v:4")}
    each.progress(places, 1)
    assert sessions.read_progress(view.get(PROGRESS, "g")) is None
    leaving = each.leave("car", "c1", {"eu": Place(5, "w:5"), "us": Place()}, 1)
    told = sessions.read_progress(each.progress({**places, "eu": Place(12, "w:12")}, 2 * IDLE_MS))
    assert told.places["eu"] == Place(5, "w:5")
    each.is_safe(leaving)
    assert each.progress({**places, "eu": Place(13, "w:13")}, 4 * IDLE_MS) is None


def test_what_was_read_for_a_client_is_not_read_again_though_nobody_has_looked_since():
    each = keeper()
    started(each, "c1", PERSISTENT)
    each.leave("car", "c1", {"eu": Place(3, "w:3"), "us": Place(2, "v:2")}, 1)
    started(each, "c2", PERSISTENT)
    held = each.held("car", "c2")
    assert held is not None
    assert held.returning is not None
    for origin, name in (("us", "v:5"), ("eu", "w:5")):
        held.returning.after[origin] = 3
        assert held.returning.begin_batch(origin, 5)
        held.returning.end_batch(origin, 5, name)
        held.returning.reached(origin, 5)
    held.returning = None

    leaving = each.leave("car", "c2", {"eu": Place(6, "w:6"), "us": Place(2, "v:2")}, 2)

    assert leaving is not None
    assert leaving.given[0] == {"eu": Place(6, "w:6"), "us": Place(5, "v:5")}


def test_a_client_is_given_no_more_than_it_takes():
    session = Session("car", Rights(), 45.0, expiry_s=60)
    returning = Returning(session, {"eu": Place()}, [], {"eu"}, {"eu": 0})
    given_ = give_a_thousand(returning)
    assert session.backlog == AHEAD_MAX
    assert returning.places["eu"] == Place(1, "w:1", given=given_)
    assert not returning.begin_batch("eu", 1)
    acknowledge_all(session)
    assert returning.begin_reading("eu")
    assert returning.begin_batch("eu", 1)
    assert returning.take("eu", 1, "w:1", given_ - 1) is None
    assert returning.take("eu", 1, "w:1", given_) is not None


def give_a_thousand(returning: Returning) -> int:
    """Offer a large batch; how many of its messages were taken."""
    returning.begin_reading("eu")
    assert returning.begin_batch("eu", 1)
    given_ = 0
    for at in range(1_000):
        owed = returning.take("eu", 1, "w:1", at)
        if owed is not None:
            returning.session.deliver(Publish("t", b"", 1), owed=owed)
            given_ += 1
    returning.end_batch("eu", 1, "w:1")
    return given_


def acknowledge_all(session: Session) -> None:
    while session.unacknowledged():
        session.handle(packets.Puback(session.unacknowledged()[0].packet_id))


def test_who_has_stopped_does_not_go_on_further_on_while_others_are_read_for():
    session = Session("car", Rights(), 45.0, expiry_s=60)
    returning = Returning(session, {"eu": Place()}, [], {"eu"}, {"eu": 0})
    given_ = give_a_thousand(returning)
    acknowledge_all(session)

    assert not returning.begin_batch("eu", 2)
    assert not returning.is_read_for("eu")
    assert returning.places["eu"] == Place(1, "w:1", given=given_)
    assert returning.begin_reading("eu")
    assert returning.begin_batch("eu", 1)


def test_what_a_client_was_sent_before_it_is_sent_again_first():
    session = Session("car", Rights(), 45.0, expiry_s=60)
    owed = [Owed("eu", 1, "w:1", 0)]
    returning = Returning(session, {"eu": Place()}, owed, {"eu"}, {"eu": 0})

    assert not returning.begin_reading("eu")
    assert not returning.begin_batch("eu", 1)
    owed.clear()
    assert returning.begin_reading("eu")


def live(count: int) -> dict[str, Place]:
    return {"eu": Place(count, f"w:{count}"), "us": Place()}


def test_of_sessions_to_which_nothing_is_given_little_is_told():
    each = keeper()
    started(each, "c1", PERSISTENT)
    session = each.held("car", "c1").session
    assert each.progress(live(1), 0) is not None
    # Telling it moves the place that is told: that is no news.
    assert each.progress(live(2), 1_000) is None
    session.deliver(Publish("t", b"", 1), owed=Owed("eu", 3, "w:3", 0))
    assert sessions.read_progress(each.progress(live(3), 2_000)).places["eu"].after == 2
    session.handle(packets.Puback(1))
    assert sessions.read_progress(each.progress(live(3), 3_000)).places["eu"].after == 3
    assert each.progress(live(4), 4_000) is None
    assert each.progress(live(5), 3_000 + IDLE_MS) is not None


def test_nothing_is_told_while_somebody_stands_at_a_place_of_another_region():
    """Its sequences mean nothing here: the lowest of them would not be the lowest."""
    view = LogView()
    each = keeper(view)
    started(each, "c1", PERSISTENT)
    leaving = each.leave("car", "c1", {"eu": Place(900, "w:5"), "us": Place()}, 1)
    each.is_safe(leaving)
    started(each, "c2", PERSISTENT)
    returning = each.held("car", "c2").returning
    assert each.progress(live(40), 1) is None
    for origin, place in (("eu", Place(5, "w:5")), ("us", Place())):
        returning.locate(origin, place)
    assert sessions.read_progress(each.progress(live(40), 2)).places["eu"] == Place(5, "w:5")


def test_a_filter_that_is_heard_of_late_is_the_sessions_too():
    here, there = LogView(), LogView()
    older, newer = keeper(here), SessionKeeper("us", "g2", there, ["eu", "us"])
    there.join(started(older, "c1", PERSISTENT).item)
    late = older.change("car", "c1", {"t": Granted(1)})
    older.leave("car", "c1", live(1), 1)
    assert started(newer, "c9", PERSISTENT).is_present
    there.join(late)
    connection, filters = newer.news(there.get(SESSION, "car"))
    assert (connection, filters) == ("c9", {"t": Granted(1)})
    session = newer.held("car", "c9").session
    assert session.subscriptions == {"t": Granted(1)}
    # What it leaves itself does not come back.
    del session.subscriptions["t"]
    newer.change("car", "c9", {"t": None})
    assert newer.news(there.get(SESSION, "car")) == ("c9", {})
