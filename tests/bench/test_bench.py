"""What `bridge bench` measures with works; the figures themselves are asserted nowhere."""

from __future__ import annotations

import asyncio

import pytest

from bridge.bench import handler, main
from bridge.bench.attacks import ATTACKS
from bridge.bench.figures import Figure, compare
from bridge.bench.frames import masked
from bridge.bench.processes import SUBSYSTEMS, CannotMeasure, echo, load
from bridge.bench.run import BENCHES
from bridge.contracts.files import ROOT
from bridge.contracts.registry import Registry
from bridge.message import Outcome, context_for
from tests.edge.rig import rig, run


def test_the_ratio_is_the_median_of_the_turns_ratios() -> None:
    turns = [(10.0, 10.0), (30.0, 10.0), (10.0, 5.0)]
    figure = compare("name", turns, "/s", "at least 1")
    assert figure == Figure("name", "10 /s", "10 /s", 2.0, "at least 1")
    assert figure.row() == ("name", "10 /s", "10 /s", "2.00", "at least 1")


def test_a_figure_without_peer_shows_no_ratio() -> None:
    assert Figure("name", "1 /s", "", None, "none").row() == ("name", "1 /s", "", "", "none")


def test_a_figure_that_does_not_exist_is_a_usage_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert asyncio.run(main(["query", "speed"])) == 2
    there = ", ".join([*BENCHES, "all", "hostile"])
    assert f"no such figure: speed; there are {there}" in capsys.readouterr().err


def test_help_names_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert asyncio.run(main(["--help"])) == 0
    names = " | ".join([*BENCHES, "all", "hostile"])
    assert f"[{names}]" in capsys.readouterr().out
    reference = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    assert f"`FIGURE`: {', '.join(BENCHES)} or all" in reference


def test_the_frames_of_the_load_are_masked_text_frames() -> None:
    assert masked("né") == b"\x81\x83\0\0\0\0n\xc3\xa9"
    assert masked("x" * 126)[:8] == b"\x81\xfe\0\x7e\0\0\0\0"


def test_the_handler_holds_its_contract() -> None:
    contract = Registry.load(SUBSYSTEMS).get("bench")
    context = context_for("m", 0, 0, "UTC", "k")
    write, read = contract.operation("write"), contract.operation("read")
    answer = handler.handle(contract.initial_state, "write", {"pad": "x"}, context)
    outcome = contract.check_outcome(write, Outcome(*answer), "python")
    assert outcome.state == {"n": 1, "pad": "x"}
    assert [effect["effect"] for effect in outcome.effects] == ["emit", "inngest"]
    answer = handler.handle(outcome.state, "read", {}, context)
    assert contract.check_outcome(read, Outcome(*answer), "python").reply == {"n": 1}


def test_the_load_counts_the_answers_of_the_echo() -> None:
    async def scenario() -> None:
        async with echo() as (url, _), load() as process:
            await process.ask(
                open={
                    "url": url,
                    "count": 3,
                    "hello": ["hi"],
                    "frames": ["x" * 200, "y"],
                    "window": 4,
                }
            )
            assert (await process.ask(run=0.1))["rate"] > 0
            assert await process.ask(close=True) == {}

    asyncio.run(scenario())


def test_a_load_that_ended_is_said_so() -> None:
    async def scenario() -> None:
        async with load() as process:
            with pytest.raises(CannotMeasure, match="the load process ended"):
                await process.ask(open={})

    asyncio.run(scenario())


def test_the_load_times_answers_and_waits_for_frames() -> None:
    async def scenario() -> None:
        async with echo() as (url, _), load() as process:
            given = {"hello": ["hi"], "frames": ["x"], "window": 1}
            await process.ask(open={"url": url, "count": 2, **given})
            took = await process.ask(time=0.1, every=0.0)
            assert 0 < took["p99"] <= took["longest"]
            assert took["lost"] is False
            assert await process.ask(expect=1, within=0.05) == {"all": False}

    asyncio.run(scenario())


def test_an_attack_is_kept_up_and_what_it_attacks_stays() -> None:
    """Each opening is one the edge takes, or an attack would measure refusals."""

    async def scenario() -> None:
        async with rig(idle_timeout_ms=60_000) as r:
            for name, attack in ATTACKS.items():
                if attack.where not in ("http", "socket"):
                    continue
                reader, writer = await asyncio.open_connection("127.0.0.1", r.port)
                writer.write(attack.opening() + next(attack.pieces()))
                if attack.where == "socket" or name == "handshakes":
                    assert b" 101 " in await reader.readline(), name
                elif name == "pipelined requests":
                    assert b" 200 " in await reader.readline()
                writer.transport.abort()
            assert await r.http("GET", "/health") == (200, {"status": "ok"})

    run(scenario())
