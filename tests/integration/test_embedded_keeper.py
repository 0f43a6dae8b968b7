"""The keeper: order of stopping, restarts, and that the launcher's death changes nothing of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.servers.errors import AlreadyRunning, StartFailed
from local.servers.launcher import Event, KeeperClient
from local.servers.process import Command, command_line, session_members
from local.servers.state import DataDir, running_environment
from tests.kit.waiting import eventually

# Writes its name into `order` when it is asked to stop; with a child that would outlive it.
_POLITE = """
import os, pathlib, signal, sys, time
order, name = pathlib.Path(sys.argv[1]), sys.argv[2]
takes_s, ignores = float(sys.argv[3]), sys.argv[4]
def leave(*_):
    if ignores == "yes":
        return
    time.sleep(takes_s)
    with order.open("a") as file:
        file.write(name + "\\n")
    os._exit(0)
signal.signal(signal.SIGTERM, leave)
print("ready", flush=True)
while True:
    signal.pause()
"""


class Tree:
    """A directory with a keeper in it, and the commands to try it with."""

    def __init__(self, path: Path) -> None:
        self.path, self.order = path, path / "order"
        self.client = KeeperClient(path, path / "keeper.log")

    def polite(
        self, name: str, stage: int, *, takes_s: float = 0.0, ignores: bool = False
    ) -> Command:
        arguments = (str(self.order), name, str(takes_s), "yes" if ignores else "no")
        argv = (sys.executable, "-c", _POLITE, *arguments)
        return self._command(name, argv, stage, stop_timeout_s=1 if ignores else 60)

    def shell(self, name: str, script: str) -> Command:
        return self._command(name, ("/bin/sh", "-c", script), 0)

    def _command(
        self, name: str, argv: tuple[str, ...], stage: int, *, stop_timeout_s: float = 60
    ) -> Command:
        log, env = self.path / f"{name}.log", dict(os.environ)
        return Command(name, argv, log, env, self.path, stop_timeout_s=stop_timeout_s, stage=stage)

    def start_ready(self, command: Command) -> int:
        kept = self.client.spawn(command)
        eventually(lambda: "ready" in command.log.read_text())
        return kept.pid

    def pids(self) -> dict[str, int]:
        return dict(json.loads((self.path / "processes.json").read_text()))


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    tree = Tree(tmp_path)
    yield tree
    if tree.client.alive:
        tree.client.stop()


def test_stops_stage_by_stage_and_waits_for_each(tree: Tree) -> None:
    tree.start_ready(tree.polite("database", 50))
    tree.start_ready(tree.polite("web", 20))
    tree.start_ready(tree.polite("worker", 0, takes_s=0.3))
    events: list[Event] = []
    assert tree.client.stop(events.append)
    assert tree.order.read_text().split() == ["worker", "web", "database"]
    told = [(e.event, e.name) for e in events if e.event in ("stopping", "stopped")]
    assert told[:3] == [("stopping", "worker"), ("stopped", "worker"), ("stopping", "web")]
    assert tree.pids() == {}


def test_what_does_not_stop_is_killed_with_its_children(tree: Tree) -> None:
    pid = tree.start_ready(tree.polite("deaf", 0, ignores=True))
    lone = tree.client.spawn(tree.shell("parent", "sleep 1000 & exec sleep 1000"))
    eventually(lambda: len(session_members(lone.pid)) == 2)
    events: list[Event] = []
    assert not tree.client.stop(events.append)
    assert [e.name for e in events if e.killed] == ["deaf"]
    eventually(lambda: not session_members(pid) + session_members(lone.pid))


def test_a_killed_launcher_stops_everything_in_order(tmp_path: Path) -> None:
    script = f"""
import sys; sys.path.insert(0, {os.getcwd()!r})
from pathlib import Path
from tests.integration.test_embedded_keeper import Tree
import signal
tree = Tree(Path(sys.argv[1]))
for name, stage in (("database", 50), ("worker", 0), ("web", 20)):
    tree.start_ready(tree.polite(name, stage, takes_s=0.1))
print("up", flush=True)
signal.pause()
"""
    launcher = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert launcher.stdout is not None
    assert launcher.stdout.readline() == "up\n"
    pids = json.loads((tmp_path / "processes.json").read_text()).values()
    assert len(pids) == 4
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    launcher.stdout.close()
    eventually(lambda: not any(command_line(pid) for pid in pids), what="nothing stays behind")
    assert (tmp_path / "order").read_text().split() == ["worker", "web", "database"]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal")
def test_a_killed_keeper_takes_its_children_along(tree: Tree) -> None:
    pid = tree.start_ready(tree.polite("worker", 0))
    os.kill(tree.client.pid, signal.SIGKILL)
    eventually(lambda: not command_line(pid))


def test_ctrl_c_for_the_whole_group_does_not_reach_what_runs(tree: Tree) -> None:
    pid = tree.start_ready(tree.polite("worker", 0))
    assert os.getpgid(pid) != os.getpgid(0) != os.getpgid(tree.client.pid)
    os.kill(tree.client.pid, signal.SIGINT)
    tree.start_ready(tree.polite("other", 0))  # it still obeys
    assert command_line(pid)


def test_a_kept_process_is_started_again_with_a_growing_pause(tree: Tree) -> None:
    kept = tree.client.spawn(tree.shell("weak", "echo started; sleep 0.05; exit 3"))
    tree.client.keep("weak")
    first = tree.client.events.get(timeout=30)
    assert (first.event, first.code, first.restart_in_s) == ("died", 3, 1.0)
    again = tree.client.events.get(timeout=30)
    assert (again.event, again.pid) == ("restarted", kept.pid)
    assert tree.client.events.get(timeout=30).restart_in_s == 2.0
    assert kept.exit_code() == 3


def test_what_cannot_be_started_is_named(tree: Tree) -> None:
    with pytest.raises(StartFailed, match=r"ghost did not start: .*No such file"):
        tree.client.spawn(tree._command("ghost", ("/no/such/program",), 0))


def test_the_data_directory_belongs_to_one_run(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "data")
    data.create()
    assert running_environment(data) == {}
    lock = data.lock()
    data.write_environment({"REDIS_URL": "redis://127.0.0.1:1/0"})
    assert running_environment(data) == {"REDIS_URL": "redis://127.0.0.1:1/0"}
    assert data.environment.stat().st_mode & 0o777 == 0o600
    with pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"):
        data.lock()
    os.close(lock)
    assert running_environment(data) == {}
    assert data.last_environment() != {}
    os.close(data.lock())


def test_the_next_run_waits_while_a_keeper_still_stops(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "data")
    data.create()
    lock = data.lock()
    client = KeeperClient(data.run, tmp_path / "keeper.log", keep_open=(lock,))
    os.pwrite(lock, b"2147483647", 0)  # a launcher that is dead by now
    os.close(lock)
    waited: list[bool] = []

    def end() -> None:
        waited.append(True)
        client.stop()

    os.close(data.lock(on_wait=end))
    assert waited == [True]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk here can be full")
def test_a_full_disk_ends_nothing_and_is_told(tree: Tree) -> None:
    listing = tree.path / "processes.new"
    listing.unlink(missing_ok=True)
    listing.symlink_to("/dev/full")
    pid = tree.start_ready(tree.polite("worker", 0))
    told = tree.client.events.get(timeout=30)
    assert (told.event, told.name) == ("not written", "processes.json")
    assert "No space left" in told.reason
    listing.unlink()
    tree.start_ready(tree.polite("web", 20))
    assert command_line(pid)
    assert set(tree.pids()) == {"keeper", "worker", "web"}
    assert tree.client.stop()
