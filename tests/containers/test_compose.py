"""The compose files: what they pass on, publish and allow, as compose itself reads them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bridge.contracts.files import ROOT

FORMS = {
    "one": ("docker-compose.yml",),
    "split": ("docker-compose.yml", "bridge/docker-compose.split.yml"),
    "ports": ("docker-compose.yml", "bridge/docker-compose.ports.yml"),
    "all": (
        "docker-compose.yml",
        "bridge/docker-compose.split.yml",
        "bridge/docker-compose.ports.yml",
    ),
}
# The containers' own: where things are inside, and who listens where.
FIXED = {
    "BRIDGE_DIR",
    "BRIDGE_HOST",
    "BRIDGE_PORT",
    "BRIDGE_LISTENER",
    "BRIDGE_LINK_DIR",
    "BRIDGE_BUILDS",
}
NO_SETTINGS = Path(ROOT, "tests", "containers", "none.env")  # compose would read .env
SECRETS = {"BRIDGE_TOKEN": "token", "REDIS_PASSWORD": "password"}


@cache
def compose() -> tuple[str, ...] | None:
    """Return compose v2, else v1, as far as there is one."""
    if shutil.which("docker"):
        asked = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if asked.returncode == 0:
            return ("docker", "compose")
    found = shutil.which("docker-compose")
    return (found,) if found else None


needs_compose = pytest.mark.skipif(compose() is None, reason="there is no docker compose here")


def config(form: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Return what compose makes of a form's files with just these variables."""
    command = compose()
    assert command is not None
    files = [part for file in FORMS[form] for part in ("-f", file)]
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    env |= {name: text for name, text in os.environ.items() if name.startswith("DOCKER_")}
    return subprocess.run(
        [*command, *files, "--env-file", str(NO_SETTINGS), "config"],
        cwd=ROOT,
        env=env | settings,
        capture_output=True,
        text=True,
        check=False,
    )


def documented() -> list[str]:
    page = Path(ROOT, "docs", "settings.md").read_text()
    return re.findall(r"^\| `(BRIDGE_\w+)`", page, re.MULTILINE)


def environment_of(file: str) -> set[str]:
    return set(re.findall(r"^      (BRIDGE_\w+):", Path(ROOT, file).read_text(), re.MULTILINE))


def test_every_documented_setting_is_passed_on() -> None:
    passed = environment_of("docker-compose.yml")
    assert set(documented()) - FIXED - passed == set()
    assert passed - set(documented()) == {"BRIDGE_ALIVE_FILE"}


def test_nothing_is_published_but_the_two_edges_on_loopback() -> None:
    text = Path(ROOT, "docker-compose.yml").read_text()
    ports = re.findall(r'"([^"]*:\d+)"$', text, re.MULTILINE)
    assert ports == [
        "127.0.0.1:${PUBLISHED_PORT:-4100}:4100",
        "127.0.0.1:${PUBLISHED_PHOENIX_PORT:-4101}:4101",
    ]
    assert text.count(" ports:") == 1


def test_the_token_is_kept_from_git_and_from_the_build() -> None:
    for name in (".gitignore", ".dockerignore"):
        assert ".env" in Path(ROOT, name).read_text().splitlines()


@pytest.mark.parametrize("file", ["bridge/Dockerfile", "contracts/typescript/Dockerfile"])
def test_packages_are_installed_before_sources_are_copied(file: str) -> None:
    for stage in re.split(r"^FROM ", Path(ROOT, file).read_text(), flags=re.MULTILINE)[1:]:
        sources = re.search(
            r"^COPY (?:--chown=\S+ )?(?:bridge|contracts|elixir_node) ", stage, re.M
        )
        if sources is not None:
            assert not re.search(r"apt-get|pip install|npm ci", stage[sources.end() :])


@needs_compose
@pytest.mark.parametrize("form", FORMS)
def test_compose_takes_the_files(form: str) -> None:
    said = config(form, **SECRETS)
    assert said.returncode == 0, said.stderr


@needs_compose
def test_a_start_without_a_token_says_where_it_belongs() -> None:
    said = config("one")
    assert said.returncode != 0
    assert "write it into .env" in said.stderr


@needs_compose
def test_redis_is_not_published_without_a_password() -> None:
    said = config("ports", BRIDGE_TOKEN="token")
    assert said.returncode != 0
    assert "REDIS_PASSWORD" in said.stderr


@needs_compose
@pytest.mark.parametrize("form", FORMS)
def test_every_service_is_bounded_checked_and_confined(form: str) -> None:
    command = compose()
    assert command is not None
    if len(command) == 1:
        pytest.skip("compose v1 prints no JSON")
    for name, service in _services(form).items():
        assert service["read_only"] is True, name
        assert service["init"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == "unless-stopped", name
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}, name
        assert int(service["mem_limit"]) > 0, name
        assert service["healthcheck"]["test"], name


def _services(form: str) -> dict[str, Any]:
    files = [part for file in FORMS[form] for part in ("-f", file)]
    said = subprocess.run(
        [
            *(compose() or ()),
            *files,
            "--env-file",
            str(NO_SETTINGS),
            "config",
            "--format",
            "json",
        ],
        cwd=ROOT,
        env=os.environ | SECRETS,
        capture_output=True,
        text=True,
        check=True,
    )
    services: dict[str, Any] = json.loads(said.stdout)["services"]
    return services
