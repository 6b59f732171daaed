"""`isthmus bench`: how fast it is, beside a peer that is measured in the same run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus import process
from isthmus.cli.options import NatsServer

Only = Annotated[
    list[str] | None, typer.Option("--only", help="Measure this metric; may be repeated.")
]
Rounds = Annotated[int, typer.Option(help="How often each is measured.")]
Seconds = Annotated[float, typer.Option(help="How long each time.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]

bench_app = typer.Typer(
    help="How fast it is, beside a peer that is measured in the same run.", no_args_is_help=True
)


@bench_app.callback()
def _bench() -> None:
    """How fast it is, beside a peer that is measured in the same run."""


@bench_app.command("gateway")
def gateway(
    only: Only = None,
    long: Annotated[
        bool, typer.Option("--long", help="Measure what takes many minutes, too.")
    ] = False,
    rounds: Rounds = 3,
    seconds: Seconds = 5.0,
    idle_minutes: Annotated[float, typer.Option(help="How long idle_10k is measured.")] = 10.0,
    nats: NatsServer = None,
    as_json: AsJson = False,
) -> None:
    """Measure the gateway: publishes that are kept, handshakes, delays.

    Every turn starts servers of its own, as `isthmus up` would, with mutual TLS, policies and a
    bus that is fsynced, and loads them from one process of ours on the same machine. Where
    mosquitto is installed it is measured in turn with us, under the same load, with mutual TLS and
    the persistence that it has by default, but without policies. A value is the median of the
    rounds; ratio is ours over the peer's.

    - `qos1_durable_per_s`: acknowledged QoS 1 publishes of 200 bytes over 50 connections, 96 of
      each unanswered at most. One region, so its disk has what is acknowledged. Mosquitto has it
      in memory.
    - `qos1_two_regions_per_s`: the same, and the disks of two regions have what is acknowledged.
    - `qos1_two_regions_80ms_per_s`: the same, and all between the regions takes 40 ms each way;
      over 200 connections, on both sides, as 50 have less unanswered than is kept in 80 ms;
      ratio is to the figure without that.
    - `puback_p99_ms`: at an offered 5,000/s with two regions, the time until PUBACK that one in a
      hundred exceeds. It counts from when a publish was due, so a stall is charged for everybody
      who had to wait. Not below what `fsync_ms` says of the disk.
    - `puback_80ms_p99_ms`: the same at 2,000/s with 40 ms each way; ratio is to 2,000/s without.
    - `connects_per_s`: full handshakes with CONNECT and CONNACK, 32 at once.
    - `connects_many_per_s`: the same where 200,000 certificates are registered, without a CA; ratio
      is to 100.
    - `fanout_per_s`: messages of one publisher that reach its 1,000 subscribers.
    - `bytes_per_connection`: by what the gateway's memory grows for each idle connection, from 500
      of them to 2,500.
    - `idle_10k`, once and only with `--long` or `--only`: 10,000 idle connections and 2,000/s with
      two regions for ten minutes; `idle_10k_puback_p99_ms` as above, and `idle_10k_dropped`, which
      must be 0.

    `generator_cpu` and `server_cpu` are CPU seconds per second: where they add up to the machine's
    CPUs, the machine was the limit. `other_cpu` is what all else on the machine took: a figure
    counts for little where that is much. `python_ms` says how fast this build of Python is: with
    one made without profile-guided optimisation all of Isthmus is slower. `server_cpu_ms_per_1000`
    is CPU for a thousand of what is measured, which other work disturbs least.

    A turn that was disturbed so much that a connection was lost is taken once more, and the result
    says so under `repeated`. What fails twice has its `error` in place of what is missing, and the
    exit code is 1.
    """
    from isthmus.bench.command import Request, run
    from isthmus.bench.stand import Tools

    request = Request(
        only=tuple(only or ()),
        long=long,
        rounds=rounds,
        seconds=seconds,
        idle_minutes=idle_minutes,
        tools=Tools(nats),
    )
    raise typer.Exit(run(request, as_json=as_json))


@bench_app.command("api")
def api(
    only: Only = None,
    rounds: Rounds = 3,
    seconds: Annotated[float, typer.Option(help="How long each time.")] = 10.0,
    things: Annotated[
        int, typer.Option(help="How many things page_ms lists, and fleet begins with.")
    ] = 100_000,
    moto: Annotated[
        Path | None, typer.Option(help="moto_server, where it is not on the PATH.")
    ] = None,
    nats: NatsServer = None,
    as_json: AsJson = False,
) -> None:
    """Measure the AWS-compatible API: requests for each second of CPU, and pages of a long list.

    Every turn starts servers of its own, as `isthmus up` would, and loads them over HTTPS from one
    process of ours on the same machine. Where `moto_server` is installed it is measured in turn
    with us, under the same requests, signed in the same way. It has everything in memory, verifies
    no signature, and closes the connection after each answer, so that each request costs it a
    handshake, as it does with every client. A value is the median of the rounds; ratio is ours
    over the peer's.

    - `ops_per_cpu_s`: 16 connections make a thing, describe it, list a page of 25 and delete it;
      answers for each second of CPU of all servers of one region: nats-server, services, gateway,
      lake, API and site.
    - `two_regions_ops_per_cpu_s`: the same, where a second region has what is answered; the CPU is
      that of both.
    - `page_ms`, once: a list of 100,000 things in pages of 250. `page_ms_first` and `page_ms_last`
      are for a page at its start and at its end, `page_ms_growth` is last over first. Then the
      API's process is started again: `api_start_s` until it answers, and `api_bytes_per_thing`, by
      what its memory is more than without things.
    - `fleet`, once: 100,000 things, each with a certificate, its policy and two groups, written
      past the API. `fleet_ops_per_cpu_s` is `ops_per_cpu_s` there, where the log is synced
      seldom, as the fleet would take too long to write. Then the fleet is doubled:
      `fleet_bytes_per_thing` is by what the memory of all processes of the region grows, and
      `fleet_start_s` how long a start takes after all of them were killed at once, until a gateway
      admits devices and the API answers.

    An answer that is wrong ends the turn, on either side. A turn that was disturbed is taken once
    more, and the result says so under `repeated`. What fails twice has its `error` in place of what
    is missing, and the exit code is 1.
    """
    from isthmus.bench.command import Request, run_api
    from isthmus.bench.stand import Tools

    request = Request(only=tuple(only or ()), rounds=rounds, seconds=seconds, tools=Tools(nats))
    raise typer.Exit(run_api(request, moto, things, as_json=as_json))


@bench_app.command("authorize")
def authorize(
    only: Only = None,
    rounds: Rounds = 3,
    seconds: Seconds = 5.0,
    nats: NatsServer = None,
    as_json: AsJson = False,
) -> None:
    """Measure what policies cost a gateway: with those that fleets have, and with none to speak of.

    The peer is the same gateway, in the same run and in turn: its devices have one policy that
    allows everything. Ours have three and a group that has a fourth, with variables of the thing, a
    condition and a Deny. A value is the median of the rounds; ratio is ours over the peer's, and is
    to be above 0.85.

    - `connects_per_s`: full handshakes with CONNECT and CONNACK, 32 at once; every CONNECT looks
      its policies up and compiles them.
    - `publishes_per_s`: acknowledged QoS 1 publishes over 50 connections.

    Where the machine has other work, `server_cpu_ms_per_1000` of the gateway tells more than a
    rate. A turn that was disturbed is taken once more, as of `isthmus bench gateway`.
    """
    from isthmus.bench.command import Request, run_authorize
    from isthmus.bench.stand import Tools

    request = Request(only=tuple(only or ()), rounds=rounds, seconds=seconds, tools=Tools(nats))
    raise typer.Exit(run_authorize(request, as_json=as_json))


@bench_app.command("shadow")
def shadow(
    only: Only = None,
    rounds: Rounds = 3,
    seconds: Seconds = 5.0,
    nats: NatsServer = None,
    as_json: AsJson = False,
) -> None:
    """Measure shadows: updates of many by MQTT, from the request to `accepted`.

    Every turn starts a region as `isthmus up` would, with mutual TLS, policies and a disk that is
    fsynced, and one more process of its API, so that there are two. 200 clients each update a
    shadow of their own, of five leaves, and hear of it on `update/accepted`; `documents` are
    published too. At the end the version of every shadow must be the number of updates that were
    accepted. All of it shares this machine with the clients. A value is the median of the rounds.

    - `updates_per_s`: updates that were accepted, where each client has 4 unanswered at most.
      `updates_per_cpu_s`: for each second of CPU that all servers together took.
    - `accepted_p50_ms`, `accepted_p99_ms`: at 2,000/s, the time from when an update was due until
      its client had `accepted`.
    - `two_regions_updates_per_s`: as the first, and the disks of two regions have what is accepted.
    """
    from isthmus.bench.command import Request, run_shadow
    from isthmus.bench.stand import Tools

    request = Request(only=tuple(only or ()), rounds=rounds, seconds=seconds, tools=Tools(nats))
    raise typer.Exit(run_shadow(request, as_json=as_json))


@bench_app.command("load", hidden=True)
def load(
    plan: Annotated[Path, typer.Option(help="What to load and how, as JSON; a bench writes one.")],
    leash: Annotated[bool, typer.Option("--leash", hidden=True)] = False,
) -> None:
    """Load one server as a plan says."""
    from isthmus import plan_file
    from isthmus.bench.generator import run_generator
    from isthmus.bench.plan import LoadPlan

    process.log_to_stderr()
    settings = plan_file.load(plan, LoadPlan)
    raise typer.Exit(process.run(lambda: run_generator(settings, process.say_ready), leash=leash))


@bench_app.command("delay", hidden=True)
def delay(
    plan: Annotated[Path, typer.Option(help="What to delay, as JSON; a bench writes one.")],
    leash: Annotated[bool, typer.Option("--leash", hidden=True)] = False,
) -> None:
    """Put a distance between regions."""
    from isthmus import plan_file
    from isthmus.bench.delay import run_delay
    from isthmus.bench.plan import DelayPlan

    process.log_to_stderr()
    settings = plan_file.load(plan, DelayPlan)
    raise typer.Exit(process.run(lambda: run_delay(settings, process.say_ready), leash=leash))
