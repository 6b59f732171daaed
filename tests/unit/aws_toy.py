"""A service that has all that REST-JSON allows and AWS IoT's models happen not to use."""

from __future__ import annotations

from typing import Any

from botocore.model import ServiceModel

from isthmus.aws.models import Service


def _structure(members: dict[str, dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"type": "structure", "members": members, **more}


def _at(shape: str, location: str, name: str, **more: Any) -> dict[str, Any]:
    return {"shape": shape, "location": location, "locationName": name, **more}


def _operation(name: str, method: str, uri: str, shape: str, output: str = "") -> dict[str, Any]:
    http = {"method": method, "requestUri": uri}
    described: dict[str, Any] = {"name": name, "http": http, "input": {"shape": shape}}
    if output:
        described["output"] = {"shape": output}
    return described


SHAPES: dict[str, Any] = {
    **{name: {"type": name.lower()} for name in ("String", "Boolean", "Integer", "Long")},
    **{name: {"type": name.lower()} for name in ("Float", "Double", "Blob", "Timestamp")},
    "Name": {"type": "string", "min": 1, "max": 8, "pattern": "[a-z]+"},
    "Secret": {"type": "string", "min": 4, "sensitive": True},
    "Names": {"type": "list", "member": {"shape": "Name"}, "min": 1, "max": 3},
    "Numbers": {"type": "list", "member": {"shape": "Long"}, "min": 1, "max": 3},
    "Strings": {"type": "map", "key": {"shape": "Name"}, "value": {"shape": "String"}, "min": 1},
    "Lists": {"type": "map", "key": {"shape": "Name"}, "value": {"shape": "Names"}, "min": 1},
    "Secrets": {"type": "list", "member": {"shape": "Secret"}},
    "Nodes": {"type": "list", "member": {"shape": "Node"}, "max": 2},
    "NodeMap": {"type": "map", "key": {"shape": "Name"}, "value": {"shape": "Node"}, "max": 2},
    "Table": {"type": "list", "member": {"shape": "Names"}, "max": 2},
    "Node": _structure(
        {"id": {"shape": "Name", "locationName": "ID"}, "secret": {"shape": "Secret"}},
        required=["id"],
    ),
    "PutRequest": _structure(
        {
            "name": _at("String", "uri", "name"),
            "count": _at("Long", "uri", "n"),
            "day": _at("Timestamp", "uri", "day"),
            "flag": _at("Boolean", "querystring", "Flag"),
            "names": _at("Names", "querystring", "name"),
            "numbers": _at("Numbers", "querystring", "number"),
            "since": _at("Timestamp", "querystring", "since", timestampFormat="unixTimestamp"),
            "until": _at("Timestamp", "querystring", "until"),
            "ratio": _at("Double", "querystring", "ratio"),
            "when": _at("Timestamp", "header", "x-when"),
            "iso": _at("Timestamp", "header", "x-iso", timestampFormat="iso8601"),
            "number": _at("Integer", "header", "X-Number"),
            "isSo": _at("Boolean", "header", "x-is-so"),
            "share": _at("Float", "header", "x-share"),
            "meta": _at("Strings", "headers", "x-meta-"),
            "other": {"shape": "Node", "locationName": "Other"},
            "blob": {"shape": "Blob"},
            "unix": {"shape": "Timestamp"},
            "rfc": {"shape": "Timestamp", "timestampFormat": "rfc822"},
            "date": {"shape": "Timestamp", "timestampFormat": "iso8601"},
            "table": {"shape": "Table"},
            "secrets": {"shape": "Secrets"},
            "nodes": {"shape": "Nodes"},
            "nodeMap": {"shape": "NodeMap"},
            "lists": {"shape": "Lists"},
            "float": {"shape": "Float"},
        },
        required=["name", "count", "day", "other"],
    ),
    "MapRequest": _structure(
        {
            "flag": _at("Boolean", "querystring", "flag1"),
            "all": _at("Strings", "querystring", "all"),
        }
    ),
    "ListsRequest": _structure({"all": _at("Lists", "querystring", "all")}),
    "FileRequest": _structure(
        {"path": _at("String", "uri", "path"), "content": {"shape": "String"}},
        required=["path"],
        payload="content",
    ),
    "PathRequest": _structure({"path": _at("String", "uri", "path")}, required=["path"]),
    "NodeRequest": _structure({"node": {"shape": "Node"}}, required=["node"], payload="node"),
    "Headers": _structure(
        {
            "status": {"shape": "Integer", "location": "statusCode"},
            "text": _at("Name", "header", "X-Text"),
            "number": _at("Long", "header", "x-number"),
            "isSo": _at("Boolean", "header", "x-is-so"),
            "share": _at("Double", "header", "x-share"),
            "when": _at("Timestamp", "header", "x-when"),
            "meta": _at("Strings", "headers", "x-meta-"),
            "node": {"shape": "Node"},
        },
        payload="node",
    ),
    "Text": _structure({"content": {"shape": "String"}}, payload="content"),
    "Body": _structure(
        {
            "other": {"shape": "Node", "locationName": "Other"},
            "blob": {"shape": "Blob"},
            "unix": {"shape": "Timestamp"},
            "rfc": {"shape": "Timestamp", "timestampFormat": "rfc822"},
            "date": {"shape": "Timestamp", "timestampFormat": "iso8601"},
            "table": {"shape": "Table"},
            "nodeMap": {"shape": "NodeMap"},
            "float": {"shape": "Float"},
        },
        required=["other"],
    ),
}
OPERATIONS = [
    _operation("Put", "PUT", "/toys/{name}/{n}/of/{day}?action=put", "PutRequest", "Body"),
    _operation("Drop", "PUT", "/toys/{name}/{n}/of/{day}?action=drop", "PutRequest"),
    _operation("Move", "PUT", "/toys/{name}/{n}/of/{day}", "PutRequest"),
    _operation("Map", "GET", "/map", "MapRequest", "Headers"),
    _operation("Lists", "GET", "/lists", "ListsRequest"),
    _operation("PutFile", "PUT", "/files/{path+}", "FileRequest", "Text"),
    _operation("HeadFile", "HEAD", "/files/{path+}", "PathRequest"),
    _operation("GetIndex", "GET", "/files/index", "MapRequest"),
    _operation("PutNode", "POST", "/node", "NodeRequest"),
    _operation("GetAny", "GET", "/any/{path}", "PathRequest"),
    _operation("GetAnyMore", "GET", "/any/{path}/more", "PathRequest"),
]
TOY = Service(
    "toy",
    ServiceModel(
        {
            "metadata": {"protocol": "rest-json", "signingName": "toy", "endpointPrefix": "toy"},
            "operations": {each["name"]: each for each in OPERATIONS},
            "shapes": SHAPES,
        },
        "toy",
    ),
    {},
)
