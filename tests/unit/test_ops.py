"""What hosts read: units, image, compose file, app.json and .env.example fit this checkout."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.main import _COMMANDS
from local.servers.programs import read_procfile
from settings import Settings
from settings.files import read_dotenv
from settings.sources import variables
from tests.kit.units import UNITS, Unit, enabled_units

LONG_RUNNING = {"web", "worker", "scheduler"}


def tool(name: str) -> str:
    """The path of a linter, of this virtual environment or the machine; or the test is skipped."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"{name} is not installed here")
    return found


def test_the_procfile_is_plain_words(project_root: Path) -> None:
    lines = read_procfile(project_root / "Procfile")
    assert set(lines) == {*LONG_RUNNING, "release"}
    for kind, line in lines.items():
        assert line == f"bin/assetq {kind}"  # no shell's syntax: some hosts have none
        assert kind in _COMMANDS


@pytest.fixture(params=UNITS)
def unit(request: pytest.FixtureRequest, project_root: Path) -> Unit:
    return Unit.read(project_root, request.param)


def test_each_unit_is_started_again_and_ended_in_time(unit: Unit) -> None:
    assert unit.role in LONG_RUNNING
    assert unit.exec_start == f"/srv/assetq/bin/assetq {unit.role}"
    assert unit.name.removesuffix(".service").removesuffix("@") == f"assetq-{unit.role}"
    service = unit.values["Service"]
    assert service["Restart"] == "always"
    assert unit.restart_s <= 5
    assert unit.values["Unit"]["StartLimitIntervalSec"] == "0"
    assert int(service["TimeoutStopSec"]) > 25
    assert service["KillMode"] == "mixed"
    assert service["User"] == "assetq"
    assert unit.values["Unit"]["PartOf"] == unit.values["Install"]["WantedBy"] == "assetq.target"


def test_systemd_finds_nothing_to_say(project_root: Path, tmp_path: Path) -> None:
    analyze = tool("systemd-analyze")
    checkout = tmp_path / "checkout"  # a path without a space
    checkout.symlink_to(project_root)
    units = tmp_path / "units"
    units.mkdir()
    for path in (project_root / "ops" / "systemd").iterdir():
        text = path.read_text().replace("/srv/assetq", str(checkout))
        (units / path.name).write_text(text.replace("User=assetq", "User=root"))
    done = subprocess.run(
        [analyze, "verify", "--man=no", *map(str, sorted(units.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_readme_enables_units_that_there_are(project_root: Path) -> None:
    units = {path.name for path in (project_root / "ops" / "systemd").iterdir()}
    assert enabled_units(project_root) == units


def test_the_image_starts_what_the_procfile_does(project_root: Path) -> None:
    text = (project_root / "ops" / "Containerfile").read_text()
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", text, re.M)
    assert json.loads(entry) == ["/srv/assetq/bin/assetq"]
    compose: dict[str, Any] = yaml.safe_load((project_root / "ops" / "compose.yml").read_text())
    services = compose["services"]
    lines = read_procfile(project_root / "Procfile")
    for kind in lines:
        assert services[kind]["command"] == [kind]
        assert services[kind]["read_only"]
        assert services[kind]["env_file"] == ["../.env"], "every setting of .env reaches it"
    for name, service in services.items():
        assert service["restart"] == ("on-failure" if name == "release" else "unless-stopped")
        assert service["logging"]["options"]["max-size"]
    assert services["web"]["ports"] == ["127.0.0.1:8000:8000"]
    assert set(services["web"]["environment"]) <= known_names()


def test_no_secret_goes_into_an_image(project_root: Path) -> None:
    left_out = (project_root / ".dockerignore").read_text().splitlines()
    assert ".*" in left_out  # .env, .git, .venv, .data
    for room in ("bin", "cli", "queueing", "requirements.txt"):
        assert room not in left_out


def test_hadolint_finds_nothing_to_say(project_root: Path) -> None:
    done = subprocess.run(
        [tool("hadolint"), str(project_root / "ops" / "Containerfile")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_app_json_names_processes_and_settings_of_ours(project_root: Path) -> None:
    app: dict[str, Any] = json.loads((project_root / "app.json").read_text())
    assert set(app["formation"]) == LONG_RUNNING
    assert set(app["env"]) <= known_names()
    for value in app["env"].values():
        assert {"value", "generator"} & set(value) or "key" in value["description"]


def test_the_example_of_env_is_complete_but_for_secrets(project_root: Path) -> None:
    path = project_root / ".env.example"
    text = path.read_text()
    names = set(re.findall(r"^([A-Z_]+)=", text, re.M))
    assert names <= known_names()
    Settings.load({}, env_file=path)
    assert "MASSIVE_API_KEY" not in read_dotenv(path)


def known_names() -> set[str]:
    """Every name that the settings read."""
    fields = Settings.model_fields.items()
    return {name for field, info in fields for name in variables(field, info)}


def test_everything_that_doctor_checks_is_explained(project_root: Path) -> None:
    page = (project_root / "docs" / "operations.md").read_text()
    checks = set()
    for path in (project_root / "cli" / "commands" / "doctor").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(getattr(node, "func", None), "id", "")
            if name in ("fail", "warn") and isinstance(node, ast.Call):
                first = node.args[0]
                checks |= {first.value} if isinstance(first, ast.Constant) else set()
    assert len(checks) > 10
    assert not [check for check in sorted(map(str, checks)) if f"\n| {check} | " not in page]
