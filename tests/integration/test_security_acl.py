"""The user that `assetq acl` makes may do what the code does, and nothing beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.exceptions import NoPermissionError

from cli.commands.acl import COMMANDS, USER, acl_line
from queueing import Keys, Priority, QuotaLimiter, Request
from queueing.limiter import Grant
from queueing.policy import Policy
from queueing.queue import PriorityQueue
from tests.kit.cli_runs import Cli
from tests.kit.security import REDIS_PASSWORD, acl_user

POLICY = Policy(limit=5, window_ms=1000, send_ms=100, guard_ms=10)


@pytest.fixture
def least_url(r: redis.Redis) -> Iterator[str]:
    with acl_user(r) as url:
        yield url


@pytest.fixture
def least(least_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(least_url, decode_responses=True) as client:
        yield client


@pytest.mark.parametrize(
    "forbidden",
    [
        *("KEYS *", "CONFIG GET requirepass", "FLUSHALL", "FLUSHDB", "SHUTDOWN NOSAVE", "MONITOR"),
        *("ACL LIST", "CLIENT LIST", "CLIENT KILL TYPE normal", "REPLICAOF NO ONE", "SAVE"),
        *("EVAL return(1) 0", "FUNCTION LIST", "SCRIPT FLUSH", "OBJECT FREQ rq:x", "DUMP rq:x"),
        *("GET others", "SET others 1", "DEL others", "HGETALL assetq", "LPUSH celery x"),
        *("GET assetq:{other}:quota", "GET rq", "RENAME rq:x others", "PUBLISH others x"),
        *(
            "SUBSCRIBE others",
            "PSUBSCRIBE *",
            "RESTORE rq:x 0 x",
            "MIGRATE h 1 rq:x 0 1",
            "SORT rq:x",
        ),
    ],
)
def test_it_may_not_do_more(least: redis.Redis, r: redis.Redis, forbidden: str) -> None:
    r.set("others", "theirs")
    with pytest.raises(NoPermissionError):
        least.execute_command(*forbidden.split())
    assert r.get("others") == "theirs"


def test_a_script_may_not_do_more_either(least: redis.Redis) -> None:
    script = least.register_script("return redis.call('SET', 'others', '1')")
    with pytest.raises(redis.ResponseError, match=r"ACL|permission|access"):
        script()


def test_the_queue_and_the_quota_work_with_it(least: redis.Redis, r: redis.Redis) -> None:
    queue = PriorityQueue(least, POLICY, keys=Keys())
    queue.enqueue([Request("EURUSD", {"ticker": "C:EURUSD"})], Priority.HIGH)
    assert [item.symbol for item in queue.peek(5)] == ["EURUSD"]
    limiter = QuotaLimiter(least, POLICY, keys=Keys())
    mark = limiter.mark()
    assert isinstance(limiter.acquire(idle_mark=mark), Grant)
    assert r.hget(Keys().quota, "epoch") == r.info("server")["run_id"]


def test_machines_that_are_gone_are_forgotten_with_it(least: redis.Redis, r: redis.Redis) -> None:
    r.hset(Keys().quota, mapping={f"clock_machine:gone-{n}": "1" for n in range(200)})
    QuotaLimiter(least, POLICY, keys=Keys()).mark()
    assert r.hlen(Keys().quota) < 20


def test_every_command_of_the_scripts_is_granted(project_root: Path) -> None:
    texts = [path.read_text() for path in (project_root / "queueing" / "lua").rglob("*.lua")]
    used = {name.lower() for text in texts for name in re.findall(r"redis\.p?call\('(\w+)'", text)}
    assert len(used) > 20
    assert used <= set(COMMANDS)


def test_the_list_names_each_command_once() -> None:
    assert len(COMMANDS) == len(set(COMMANDS))


def test_the_command_prints_what_redis_takes(r: redis.Redis, tmp_path: Path) -> None:
    cli = Cli(tmp_path, {"ASSETQ_PROVIDER": "second"})
    done = cli.here("acl", "--user", "somebody")
    assert done.code == 0
    assert "~assetq:{second}:*" in done.out
    assert "massive" not in done.out
    line = done.out.strip().replace(">CHOOSE-A-PASSWORD", f">{REDIS_PASSWORD}")
    r.execute_command(line)
    try:
        port = r.connection_pool.connection_kwargs["port"]
        url = f"redis://somebody:{REDIS_PASSWORD}@127.0.0.1:{port}/0"
        with redis.Redis.from_url(url) as client:
            assert client.get("assetq:{second}:outage") is None
            with pytest.raises(NoPermissionError):
                client.get("assetq:{massive}:outage")
    finally:
        r.acl_deluser("somebody")
    assert cli.here("acl", "--user", "a b").code == 2
    assert cli.here("acl", "--user", "").code == 2


def test_the_password_is_in_the_line_as_a_hash_only() -> None:
    assert REDIS_PASSWORD not in acl_line("massive", password=REDIS_PASSWORD)


def test_without_info_the_doctor_says_what_is_at_stake(
    r: redis.Redis, least_url: str, migrated_url: str, tmp_path: Path
) -> None:
    r.execute_command("ACL", "SETUSER", USER, "-info")
    env = {"REDIS_URL": least_url, "DATABASE_URL": migrated_url, "MASSIVE_API_KEY": "key"}
    cli = Cli(tmp_path, env)
    checks = cli.here("doctor", "--json").json["checks"]
    [told] = [c for c in checks if c["check"] == "redis" and c["status"] == "fail"]
    assert "may not use INFO" in told["text"]
    assert "restart" in told["text"]
    assert "assetq acl" in told["remedy"]
    assert REDIS_PASSWORD not in "".join(cli.said)


def test_a_missing_right_is_one_line_with_its_remedy(
    r: redis.Redis, least_url: str, migrated_url: str, tmp_path: Path
) -> None:
    r.execute_command("ACL", "SETUSER", USER, "-evalsha")
    env = {"REDIS_URL": least_url, "DATABASE_URL": migrated_url, "MASSIVE_API_KEY": "key"}
    cli = Cli(tmp_path, env)
    cli.here("queue", "stats").failed(4, "evalsha", "`assetq acl`")
    cli.here("queue", "stats", ASSETQ_DEBUG="1")
    assert REDIS_PASSWORD not in "".join(cli.said)


def test_the_docs_hold_the_line(project_root: Path) -> None:
    text = (project_root / "docs" / "security.md").read_text()
    assert f"\n{acl_line('massive')}\n" in text


def test_a_consumer_of_the_events_needs_as_little_as_the_docs_say(
    r: redis.Redis, project_root: Path
) -> None:
    text = (project_root / "docs" / "security.md").read_text()
    [line] = re.findall(r"`(ACL SETUSER reader [^`]+)`", text)
    r.execute_command(line.replace(">…", f">{REDIS_PASSWORD}"))
    r.xadd(Keys().updates, {"event": "{}"})
    try:
        port = r.connection_pool.connection_kwargs["port"]
        url = f"redis://reader:{REDIS_PASSWORD}@127.0.0.1:{port}/0"
        with redis.Redis.from_url(url) as reader:
            assert reader.xread({Keys().updates: "0"})
            pubsub = reader.pubsub()
            pubsub.psubscribe("asset:update:*")
            assert pubsub.get_message(timeout=30)["type"] == "psubscribe"
            pubsub.close()
            for refused in (f"HGETALL {Keys().items}", f"DEL {Keys().updates}"):
                with pytest.raises(NoPermissionError):
                    reader.execute_command(*refused.split())
    finally:
        r.acl_deluser("reader")
