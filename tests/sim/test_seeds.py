"""The core under plans of every kind; `./dev nightly` runs twenty times as many."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from functools import partial

import msgspec
import psutil
import pytest

from isthmus.sim.plan import FAULTS
from isthmus.sim.run import Outcome, run_seed

#: A run takes some ten seconds, and on a machine that has other work many times as long.
pytestmark = pytest.mark.timeout(300)

#: Runs of this many seeds each, so that they spread over processes.
RUN = 25
EVENTS_LEAST = 2_000
#: Without these a run of seeds would prove little.
REACHED = {
    "acknowledged-alone",
    "alone",
    "caught-up",
    "conflict",
    "connected",
    "failover",
    "given-again",
    "given-later",
    "incarnation-kept",
    "incarnation-new",
    "marked-as-repeat",
    "not-alone",
    "override",
    "recalled",
    "revoked-refused",
    "rewound",
    "sent-again",
    "session-present",
}


def check(first: int) -> tuple[Counter[str], Counter[str]]:
    """Run seeds; no promise breaks, and no run is a short one.

    Returns which faults struck, and which states were reached.
    """
    faults: Counter[str] = Counter()
    reached: Counter[str] = Counter()
    for seed in range(first, first + RUN):
        outcome = run_seed(seed)
        replay = f"isthmus sim --seed {seed} --minimise"
        assert not outcome.invariant, f"{outcome.invariant}: {outcome.text}; {replay}"
        assert outcome.events >= EVENTS_LEAST
        faults += outcome.faults
        reached += outcome.reached
    return faults, reached


@pytest.mark.parametrize("first", range(1, 1_001, RUN))
def test_no_promise_breaks(first: int) -> None:
    faults, reached = check(first)
    assert faults.keys() >= {verb for verb, weight, _ in FAULTS if weight > 2}
    assert reached.keys() >= REACHED


@pytest.mark.nightly
@pytest.mark.parametrize("first", range(1_001, 20_001, RUN))
def test_no_promise_breaks_in_many_more(first: int) -> None:
    check(first)


def transcript(seed: int, hash_seed: str) -> bytes:
    command = [sys.executable, "-m", "isthmus", "sim", "--seed", str(seed)]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.run(command, env=environment, capture_output=True, check=True).stdout


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_same_seed_is_the_same_run_byte_for_byte(seed: int) -> None:
    here = "\n".join(run_seed(seed, transcript=True).lines) + "\n"
    assert transcript(seed, "1") == transcript(seed, "2") == here.encode()


def test_writing_a_transcript_changes_nothing() -> None:
    quiet, told = run_seed(7), run_seed(7, transcript=True)
    assert not quiet.lines
    assert (quiet.events, quiet.faults, quiet.reached) == (told.events, told.faults, told.reached)


def isthmus_sim(*words: str) -> tuple[int, bytes, bytes]:
    done = subprocess.run(
        [sys.executable, "-m", "isthmus", "sim", *words], capture_output=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_the_command_adds_up_what_its_seeds_did_in_any_number_of_processes() -> None:
    words = ("--seeds", "6", "--first-seed", "11", "--json")
    outcomes: list[Outcome] = [run_seed(seed) for seed in range(11, 17)]
    for jobs in ("1", "2"):
        code, out, _ = isthmus_sim(*words, "--jobs", jobs)
        report = msgspec.json.decode(out)
        assert code == 0
        assert report["verdict"] == "pass"
        assert report["events"] == sum(each.events for each in outcomes)
        assert report["events_least"] == min(each.events for each in outcomes)
        assert report["faults"] == dict(sum((each.faults for each in outcomes), Counter()))
        assert report["broken"] == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--seeds", "0"), b"seeds is 0"),
        (("--jobs", "0"), b"jobs is 0"),
        (("--seed", "1", "--steps", "a"), b"steps is 'a'"),
        (("--seed", "1", "--steps", "99999"), b"this plan has steps 0 to"),
        (("--seed", "1", "--minimise"), b"seed 1 breaks no promise"),
    ],
)
def test_what_cannot_be_run_is_named(words: tuple[str, ...], says: bytes) -> None:
    code, _, error = isthmus_sim(*words)
    assert code == 2
    assert says in error


def test_a_part_of_a_plan_is_replayed() -> None:
    code, out, _ = isthmus_sim("--seed", "1", "--steps", "0,1", "--json")
    assert code == 0
    assert msgspec.json.decode(out)["invariant"] == ""


def working(process: psutil.Process) -> list[psutil.Process]:
    """The processes that run seeds for another one."""
    return [each for each in process.children() if "spawn_main" in " ".join(each.cmdline())]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whoever_works_for_a_command_ends_with_it(how: signal.Signals) -> None:
    words = [sys.executable, "-m", "isthmus", "sim", "--seeds", "5000", "--jobs", "2"]
    # A shell's background jobs, and their children, ignore interrupts.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipe = subprocess.PIPE
    command = psutil.Popen(words, stdout=subprocess.DEVNULL, stderr=pipe, preexec_fn=heed)
    try:
        while len(workers := working(command)) < 2:
            assert command.poll() is None
        # Until Python has set itself up, an interrupt is a traceback.
        while not all(each.cpu_times().user > 0.3 for each in workers):
            assert command.poll() is None
        command.send_signal(how)
        _, error = command.communicate()
        _, alive = psutil.wait_procs(workers, timeout=20)
        assert not alive
    finally:
        if command.poll() is None:
            command.kill()
    if how is signal.SIGINT:
        assert command.returncode == 130
        assert b"interrupted" in error
        assert b"Traceback" not in error
