"""Examples of AWS IoT's developer guide, page by page: what is asked of a shadow, and the answers.

Where a page only shows a document, the requests that lead to it stand before it. ``OBSERVED`` has
what moto's tests, and issues of AWS's own projects, show of the service itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Step(NamedTuple):
    """A request at a time in seconds, and what is then said on some topics; None for nothing."""

    at_s: int
    asked: str
    payload: dict[str, Any] | None = None
    said: Mapping[str, Any] = MappingProxyType({})


def times(at_s: int, count: int) -> dict[str, Any] | list[Any]:
    """Metadata of one scalar, or of an array of so many."""
    return [{"timestamp": at_s}] * count if count > 1 else {"timestamp": at_s}


def nothing(count: int) -> list[Step]:
    """So many versions in which nothing happens."""
    return [Step(1, "update", {"state": {}})] * count


GRAY, YELLOW = [128, 128, 128], [255, 255, 0]
BORN, DESIRED_AT, DONE = 1591140517, 1591141596, 1591142747
LAMP = {"ID": "SmartLamp21", "ColorRGB": GRAY}
LAMP_TIMES = {"ID": times(BORN, 1), "ColorRGB": times(BORN, 3)}
NEW, APP, DEVICE = (
    "426bfd96-e720-46d3-95cd-014e3ef12bb6",
    "21b21b21-bfd2-4279-8c65-e2f697ff4fab",
    "a4dc2227-9213-4c6a-a6a5-053304f60258",
)
BEFORE = {
    "state": {"desired": {"ColorRGB": YELLOW}, "reported": LAMP},
    "metadata": {"desired": {"ColorRGB": times(DESIRED_AT, 3)}, "reported": LAMP_TIMES},
    "version": 4,
}
AFTER = {
    "state": {"desired": {"ColorRGB": YELLOW}, "reported": LAMP | {"ColorRGB": YELLOW}},
    "metadata": {
        "desired": {"ColorRGB": times(DESIRED_AT, 3)},
        "reported": LAMP_TIMES | {"ColorRGB": times(DONE, 3)},
    },
    "version": 5,
}
SIMULATION = [
    Step(
        BORN,
        "get",
        None,
        {"get/rejected": {"code": 404, "message": "No shadow exists with name: 'simShadow1'"}},
    ),
    *[Step(BORN, "update", {"state": {"reported": LAMP}, "clientToken": NEW})] * 3,
    Step(
        BORN,
        "get",
        {"clientToken": NEW},
        {
            "get/accepted": {
                "state": {"reported": LAMP},
                "metadata": {"reported": LAMP_TIMES},
                "version": 3,
                "timestamp": BORN,
                "clientToken": NEW,
            }
        },
    ),
    Step(
        1591141111,
        "get",
        None,
        {
            "get/accepted": {
                "state": {"reported": LAMP},
                "metadata": {"reported": LAMP_TIMES},
                "version": 3,
                "timestamp": 1591141111,
            }
        },
    ),
    Step(
        DESIRED_AT,
        "update",
        {"state": {"desired": {"ColorRGB": YELLOW}}, "clientToken": APP},
        {
            "update/accepted": {
                "state": {"desired": {"ColorRGB": YELLOW}},
                "metadata": {"desired": {"ColorRGB": times(DESIRED_AT, 3)}},
                "version": 4,
                "timestamp": DESIRED_AT,
                "clientToken": APP,
            },
            "update/delta": {
                "version": 4,
                "timestamp": DESIRED_AT,
                "state": {"ColorRGB": YELLOW},
                "metadata": {"ColorRGB": times(DESIRED_AT, 3)},
                "clientToken": APP,
            },
        },
    ),
    Step(
        DONE,
        "update",
        {"state": {"reported": {"ColorRGB": YELLOW}}, "clientToken": DEVICE},
        {
            "update/accepted": {
                "state": {"reported": {"ColorRGB": YELLOW}},
                "metadata": {"reported": {"ColorRGB": times(DONE, 3)}},
                "version": 5,
                "timestamp": DONE,
                "clientToken": DEVICE,
            },
            "update/documents": {
                "previous": BEFORE,
                "current": AFTER,
                "timestamp": DONE,
                "clientToken": DEVICE,
            },
            "update/delta": None,
        },
    ),
    Step(1591143269, "get", None, {"get/accepted": AFTER | {"timestamp": 1591143269}}),
]

AT = times(12345, 1)
DOCUMENTS = {
    "Delta state": [
        *nothing(16),
        Step(
            12345,
            "update",
            {
                "state": {
                    "desired": {"color": "RED", "state": "STOP"},
                    "reported": {"color": "GREEN", "engine": "ON"},
                }
            },
        ),
        Step(
            123456789,
            "get",
            None,
            {
                "get/accepted": {
                    "state": {
                        "desired": {"color": "RED", "state": "STOP"},
                        "reported": {"color": "GREEN", "engine": "ON"},
                        "delta": {"color": "RED", "state": "STOP"},
                    },
                    "metadata": {
                        "desired": {"color": AT, "state": AT},
                        "reported": {"color": AT, "engine": AT},
                        "delta": {"color": AT, "state": AT},
                    },
                    "version": 17,
                    "timestamp": 123456789,
                }
            },
        ),
    ],
    "Delta state, nested": [
        Step(
            12345,
            "update",
            {
                "state": {
                    "desired": {"lights": {"color": {"r": 255, "g": 255, "b": 255}}},
                    "reported": {"lights": {"color": {"r": 255, "g": 0, "b": 255}}},
                }
            },
            {
                "update/delta": {
                    "version": 1,
                    "timestamp": 12345,
                    "state": {"lights": {"color": {"g": 255}}},
                    "metadata": {"lights": {"color": {"g": AT}}},
                }
            },
        )
    ],
    "Client tokens in shadow documents": [
        Step(
            1,
            "update",
            {"state": {}, "clientToken": "x" * 65},
            {"update/rejected": {"code": 400, "message": "Invalid clientToken"}},
        )
    ],
    "Empty shadow document properties": [
        Step(12345, "update", {"state": {"desired": {"color": "RED"}}}),
        Step(
            12345,
            "update",
            {"state": {"reported": {"color": "red"}, "desired": None}},
            {
                "state": {"reported": {"color": "red"}},
                "update/accepted": {
                    "state": {"reported": {"color": "red"}, "desired": None},
                    "metadata": {"reported": {"color": AT}, "desired": AT},
                    "version": 2,
                    "timestamp": 12345,
                },
                "update/delta": None,
            },
        ),
        Step(12345, "update", {"state": {"reported": None}}, {"state": {}}),
    ],
    "Array values in shadow documents": [
        Step(1, "update", {"state": {"desired": {"colors": ["RED", "GREEN", "BLUE"]}}}),
        Step(
            1,
            "update",
            {"state": {"desired": {"colors": ["RED"]}}},
            {"state": {"desired": {"colors": ["RED"]}, "delta": {"colors": ["RED"]}}},
        ),
        Step(
            1,
            "update",
            {"state": {"desired": {"colors": [None, "RED", "GREEN"]}}},
            {
                "update/rejected": {
                    "code": 400,
                    "message": "State contains an invalid node: 'colors'",
                }
            },
        ),
    ],
}

WISH = {"color": {"r": 10}, "engine": "ON"}
INTERACTING = {
    "Updating a shadow": [
        Step(
            12345,
            "update",
            {"state": {"desired": WISH}},
            {
                "update/accepted": {
                    "state": {"desired": WISH},
                    "metadata": {"desired": {"color": {"r": AT}, "engine": AT}},
                    "version": 1,
                    "timestamp": 12345,
                },
                "update/delta": {
                    "version": 1,
                    "timestamp": 12345,
                    "state": WISH,
                    "metadata": {"color": {"r": AT}, "engine": AT},
                },
            },
        ),
        Step(12345, "update", {"state": {"reported": WISH}}, {"update/delta": None}),
    ],
    "Optimistic locking": [
        *nothing(9),
        Step(1, "update", {"state": {"desired": {"colors": ["RED", "GREEN", "BLUE"]}}}),
        Step(
            1,
            "update",
            {"state": {"desired": {"colors": ["BLUE"]}}, "version": 9, "clientToken": NEW},
            {"update/rejected": {"code": 409, "message": "Version conflict", "clientToken": NEW}},
        ),
        Step(
            1,
            "update",
            {"state": {"desired": {"colors": ["BLUE"]}}, "version": 10},
            {
                "state": {"desired": {"colors": ["BLUE"]}, "delta": {"colors": ["BLUE"]}},
                "version": 11,
            },
        ),
    ],
    "Deleting a property from a shadow document": [
        Step(1, "update", {"state": {"desired": WISH}}),
        Step(
            12345,
            "update",
            {"state": {"desired": {"engine": None}}},
            {
                "state": {"desired": {"color": {"r": 10}}, "delta": {"color": {"r": 10}}},
                "update/accepted": {
                    "state": {"desired": {"engine": None}},
                    "metadata": {"desired": {"engine": AT}},
                    "version": 2,
                    "timestamp": 12345,
                },
            },
        ),
    ],
    "Deleting a shadow": [
        *nothing(4),
        Step(
            1591057529, "delete", None, {"delete/accepted": {"version": 4, "timestamp": 1591057529}}
        ),
        Step(
            1591057529,
            "delete",
            {"clientToken": "t"},
            {
                "delete/rejected": {
                    "code": 404,
                    "message": "No shadow exists with name: 'simShadow1'",
                    "clientToken": "t",
                }
            },
        ),
        # Version numbers go on.
        Step(1591057530, "update", {"state": {}}, {"version": 5}),
    ],
}

GREEN = {"welcome": "aws-iot", "color": "green"}
TUTORIAL = [
    *nothing(9),
    Step(1617297888, "update", {"state": {"desired": GREEN, "reported": GREEN}}),
    Step(
        1617297904,
        "update",
        {"state": {"desired": {"color": "yellow"}, "reported": {"color": "yellow"}}},
        {
            "update/documents": {
                "previous": {
                    "state": {"desired": GREEN, "reported": GREEN},
                    "metadata": {
                        each: {"welcome": times(1617297888, 1), "color": times(1617297888, 1)}
                        for each in ("desired", "reported")
                    },
                    "version": 10,
                },
                "current": {
                    "state": {
                        each: {"welcome": "aws-iot", "color": "yellow"}
                        for each in ("desired", "reported")
                    },
                    "metadata": {
                        each: {"welcome": times(1617297888, 1), "color": times(1617297904, 1)}
                        for each in ("desired", "reported")
                    },
                    "version": 11,
                },
                "timestamp": 1617297904,
            }
        },
    ),
    Step(1, "update", {"state": {"desired": {"color": "green"}, "reported": {"color": "green"}}}),
    Step(
        1617318480,
        "update",
        {"state": {"desired": {"color": "red"}}},
        {
            "update/delta": {
                "version": 13,
                "timestamp": 1617318480,
                "state": {"color": "red"},
                "metadata": {"color": times(1617318480, 1)},
            }
        },
    ),
]


def compared(first: dict[str, Any], second: dict[str, Any], shown: dict[str, Any]) -> list[Step]:
    """Two updates one after the other, and the state that they lead to."""
    return [
        Step(1, "update", {"state": first}),
        Step(1, "update", {"state": second}, {"state": shown}),
    ]


OBSERVED = {
    "state null empties a shadow": [
        *nothing(16),
        Step(1, "update", {"state": {each: {"a": 1} for each in ("desired", "reported")}}),
        Step(
            1756452769,
            "update",
            {"state": None},
            {
                "update/accepted": {
                    "state": None,
                    "metadata": {"timestamp": 1756452769},
                    "version": 18,
                    "timestamp": 1756452769,
                }
            },
        ),
        Step(
            1756452770,
            "get",
            None,
            {
                "get/accepted": {
                    "state": {},
                    "metadata": {},
                    "version": 18,
                    "timestamp": 1756452770,
                }
            },
        ),
    ],
    "state null makes a shadow": [Step(1, "update", {"state": None}, {"state": {}, "version": 1})],
    "an empty state changes nothing": compared({"reported": {"a": 1}}, {}, {"reported": {"a": 1}}),
    "delta is no section": [
        Step(
            1,
            "update",
            {"state": {"delta": {}}},
            {
                "update/rejected": {
                    "code": 400,
                    "message": "State contains an invalid node: 'delta'",
                }
            },
        )
    ],
    "a token is answered with an error": [
        Step(
            1,
            "update",
            {"clientToken": "empty"},
            {
                "update/rejected": {
                    "code": 400,
                    "message": "Missing required node: state",
                    "clientToken": "empty",
                }
            },
        )
    ],
    "a section in which nothing is left is gone": compared(
        {"desired": {"state1": 1, "state2": 2}}, {"desired": {"state1": None, "state2": None}}, {}
    ),
    "a flipped boolean": compared(
        {"desired": {"online": True}},
        {"reported": {"online": False}},
        {"desired": {"online": True}, "reported": {"online": False}, "delta": {"online": True}},
    ),
    "more is reported than desired": compared(
        {"desired": {"enabled": True}},
        {"reported": {"online": False, "enabled": True}},
        {"desired": {"enabled": True}, "reported": {"online": False, "enabled": True}},
    ),
    "null where nothing is": compared({}, {"reported": {"online": None}}, {}),
    "an empty section": compared(
        {"desired": {}}, {"reported": {"online": False}}, {"reported": {"online": False}}
    ),
    "nested arrays": compared(
        {"reported": {"list": [["value_1"], ["value_2"]]}},
        {"desired": {"list": [["value_1"]]}},
        {
            "desired": {"list": [["value_1"]]},
            "reported": {"list": [["value_1"], ["value_2"]]},
            "delta": {"list": [["value_1"]]},
        },
    ),
    "nested objects": compared(
        {"reported": {"a": {"b1": {"c": "d"}}}},
        {"desired": {"a": {"b1": {"c": "d"}, "b2": "sth"}}},
        {
            "desired": {"a": {"b1": {"c": "d"}, "b2": "sth"}},
            "reported": {"a": {"b1": {"c": "d"}}},
            "delta": {"a": {"b2": "sth"}},
        },
    ),
    "empty objects are kept": compared(
        {"desired": {"a": 1, "b": {"c": 3}, "d": {}}},
        {"desired": {"a": 1, "b": {"c": {}}, "d": {}}},
        {each: {"a": 1, "b": {"c": {}}, "d": {}} for each in ("desired", "delta")},
    ),
    "an object for a number": compared(
        {"desired": {"a": 1, "b": {"c": 3}}},
        {"desired": {"b": {"c": {"d": 3}}}},
        {each: {"a": 1, "b": {"c": {"d": 3}}} for each in ("desired", "delta")},
    ),
    "an object of nothing but null is none": compared(
        {"desired": {"a": 1}},
        {"desired": {"b": {"c": None, "d": {"e": None}}}},
        {"desired": {"a": 1}, "delta": {"a": 1}},
    ),
    "an object that is there stays without its members": compared(
        {"desired": {"a": {"foo": "bar"}}},
        {"desired": {"a": {"foo": None}}},
        {"desired": {"a": {}}, "delta": {"a": {}}},
    ),
}

MQTT_TOPICS = {
    "what is only reported is not in the delta": [
        Step(
            1,
            "update",
            {"state": {"reported": {"color": "red", "power": "on"}}},
            {"update/delta": None},
        )
    ],
    "what is only desired is": [
        Step(1, "update", {"state": {"reported": {"color": "red"}}}),
        Step(
            12345,
            "update",
            {"state": {"desired": {"color": "red", "power": "on"}}},
            {
                "update/delta": {
                    "version": 2,
                    "timestamp": 12345,
                    "state": {"power": "on"},
                    "metadata": {"power": AT},
                }
            },
        ),
    ],
    "so is what is not reported any more, whatever the update is about": [
        Step(
            12345,
            "update",
            {"state": {each: {"color": "red"} for each in ("desired", "reported")}},
            {"update/delta": None},
        ),
        Step(
            12346,
            "update",
            {"state": {"reported": {"color": None}}},
            {
                "update/delta": {
                    "version": 2,
                    "timestamp": 12346,
                    "state": {"color": "red"},
                    "metadata": {"color": AT},
                }
            },
        ),
    ],
}

WELCOME = {"welcome": "aws-iot", "color": "yellow"}
IN_DEVICES = [
    Step(
        1,
        "get",
        None,
        {"get/rejected": {"code": 404, "message": "No shadow exists with name: 'simShadow1'"}},
    ),
    Step(12345, "update", {"state": {"reported": WELCOME}}, {"version": 1, "update/delta": None}),
    Step(
        12346,
        "get",
        None,
        {
            "get/accepted": {
                "state": {"reported": WELCOME},
                "metadata": {"reported": {"welcome": AT, "color": AT}},
                "version": 1,
                "timestamp": 12346,
            }
        },
    ),
]

PAGES: dict[str, dict[str, list[Step]]] = {
    "Using shadows in devices": {"the first connection": IN_DEVICES},
    "Simulating Device Shadow service communications": {"the simulation": SIMULATION},
    "Device Shadow service documents": DOCUMENTS,
    "Interacting with shadows": INTERACTING,
    "Device Shadow MQTT topics": MQTT_TOPICS,
    "Tutorial: Interacting with Device Shadow": {"the traffic light": TUTORIAL},
    "observed": OBSERVED,
}
