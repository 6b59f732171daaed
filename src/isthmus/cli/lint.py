"""`isthmus lint`: what is doubtful about policy documents, before they are stored."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from isthmus.core import policy_lint
from isthmus.core.policy_fields import System
from isthmus.core.policy_lint import Finding, Severity
from isthmus.errors import InputError

#: More than any document may have.
FILE_BYTES_MAX = 1024 * 1024
_EXIT = {Severity.NOTE: 0, Severity.WARNING: 1, Severity.ERROR: 2}


def lint(
    paths: Annotated[
        list[str], typer.Argument(help="Documents, directories of *.json, or - for stdin.")
    ],
    account: Annotated[
        str | None, typer.Option(help="The system's account id, with --region.")
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option("--region", help="A region's AWS name or alias; once for each."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Warn of policies that do not say what they seem to, or not in every region.

    Each finding names the file, the statement by its Sid or number, what was found, why that
    matters, and what to write instead. Exit code: 0, or 1 where there is a warning, or 2 where a
    document would be refused.

    - error: an operator, key, variable or field that is not evaluated here
    - warning: what can never match, as `topic/a/+`, or iot:Subscribe on `topic/`; an ARN of another
      account or region, which is known with --account and --region; `aws:SourceIp`, which a client
      has another one of in another region; `client/*`, by which every client may take over every
      other one; a Deny of iot:Subscribe that leaves iot:Receive; iot:Subscribe without iot:Receive
    - note: an ARN that names one region, and holds in all; iot:Publish without iot:RetainPublish

    A document is looked at by itself. Examples:

    - `isthmus lint policies/ --account 123456789012 --region eu-central-1 --region us-east-1`
    - `aws iot get-policy --policy-name p --query policyDocument --output text | isthmus lint -`
    """
    if bool(account) != bool(region):
        raise InputError("one of --account and --region", hint="both of them, or neither")
    system = System(account, frozenset(region)) if account and region else None
    found = [
        (name, finding)
        for name, document in _documents(paths)
        for finding in policy_lint.lint(document, system)
    ]
    if as_json:
        listed = [{"file": name, **asdict(finding)} for name, finding in found]
        sys.stdout.write(f"{json.dumps({'findings': listed})}\n")
    else:
        for name, finding in found:
            sys.stdout.write(_sentence(name, finding))
    raise typer.Exit(max((_EXIT[finding.severity] for _, finding in found), default=0))


def _sentence(name: str, finding: Finding) -> str:
    where = f", statement {finding.statement}" if finding.statement else ""
    return (
        f"{name}{where}: {finding.severity}: {finding.value}\n"
        f"  {finding.why}\n  Try: {finding.instead}\n"
    )


def _documents(paths: list[str]) -> Iterator[tuple[str, str]]:
    for given in paths:
        if given == "-":
            yield "stdin", _text("stdin", sys.stdin.buffer.read(FILE_BYTES_MAX + 1))
            continue
        path = Path(given)
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not files:
            raise InputError(f"{given} has no *.json", hint="a directory of policy documents")
        for file in files:
            try:
                with file.open("rb") as opened:
                    raw = opened.read(FILE_BYTES_MAX + 1)
            except OSError as error:
                raise InputError(f"{file}: {error.strerror}", hint="a file to read") from None
            yield str(file), _text(str(file), raw)


def _text(name: str, raw: bytes) -> str:
    if len(raw) > FILE_BYTES_MAX:
        raise InputError(f"{name} is above {FILE_BYTES_MAX} bytes", hint="a policy document")
    # What is no text is no JSON either, and is found to be refused.
    return raw.decode(errors="replace")
