"""REDIS_URL: every option that would change how the client works is refused in one line."""

from __future__ import annotations

import pytest
from redis import Redis
from redis.sentinel import SentinelConnectionPool, SentinelManagedSSLConnection

from runtime.redis_client import open_redis, sentinel_options, twin_for_rq
from settings import Settings, SettingsError
from settings.redis_url import SentinelUrl

SECRET = "Hunter2-not-to-be-shown"


def load(url: str, **env: str) -> Settings:
    return Settings.load({"REDIS_URL": url, **env}, env_file=None)


def problem(url: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(url)
    (line,) = caught.value.problems
    assert SECRET not in line
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    "option",
    [
        *("decode_responses=true", "decode_responses=false", "encoding=latin1", "protocol=3"),
        *("encoding_errors=ignore", "legacy_responses=no", "socket_timeout=1", "timeout=5"),
        *("socket_connect_timeout=0.001", "socket_keepalive=no", "socket_read_size=1"),
        *("health_check_interval=soon", "health_check_interval=30", "retry_on_timeout=yes"),
        *("retry_on_error=x", "max_connections=1", "connection_class=Other", "parser_class=x"),
        *("host=elsewhere", "port=1", "path=/x", "client_name=y", "lib_name=z", "virtual_host=v"),
        *("DB=1", "Decode_Responses=1", "nonsense", f"pwd={SECRET}", f"auth={SECRET}"),
    ],
)
@pytest.mark.parametrize("place", ["redis://h:1/0", "unix:///run/r.sock", "redis+sentinel://h/m/0"])
def test_an_option_that_changes_the_client_is_refused(place: str, option: str) -> None:
    line = problem(f"{place}?{option}")
    assert line.startswith("REDIS_URL=")
    assert "is not one of" in line
    assert line.endswith("remove it.")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://h:1/0?db=1", "names its database twice"),
        ("redis://h:1?db=1&db=2", "the option db is given twice"),
        ("redis://h:1?db=one", "the option db must be a whole number"),
        ("redis://h:1?db=", "the option db must be a whole number"),
        (f"redis://:{SECRET}@h:1/0?password={SECRET}", "names its login twice"),
        ("redis://h:1/0?ssl_cert_reqs=none", "the option ssl_cert_reqs needs TLS"),
        ("rediss://h:1/0?ssl_cert_reqs=maybe", "must be none, optional or required"),
        ("rediss://h:1/0?ssl_check_hostname=2", "must be true or false"),
        ("redis://a:1,b:2/0", "must name one server"),
        ("unix://", "must name a socket"),
        ("redis+sentinel://h:26379", "must name sentinels, the service"),
        ("redis+sentinel://h:26379/mymaster/zero", "must name sentinels, the service"),
        ("redis+sentinel://,/mymaster/0", "must name sentinels, the service"),
        ("redis+sentinel://h/m?ssl_ca_certs=x", "the option ssl_ca_certs needs TLS"),
        (f"redis+sentinel://h/m?sentinel_password={SECRET}&sentinel_password=x", "given twice"),
    ],
)
def test_what_cannot_be_meant_is_one_line(url: str, told: str) -> None:
    assert told in problem(url)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("redis://h:1?db=3", {"host": "h", "port": 1, "db": 3}),
        ("redis://h:1/3", {"host": "h", "db": 3}),
        ("redis://h/0?username=u&password=p%40w", {"username": "u", "password": "p@w"}),
        ("unix:///run/redis.sock?db=2&password=p", {"path": "/run/redis.sock", "db": 2}),
        ("rediss://h:1/0?ssl_ca_certs=/ca.pem", {"ssl_ca_certs": "/ca.pem"}),
    ],
)
def test_options_that_lead_to_the_server_work(url: str, options: dict[str, object]) -> None:
    with Redis.from_url(load(url).redis_url) as client:
        assert options.items() <= client.connection_pool.connection_kwargs.items()


def test_the_sentinels_have_a_login_of_their_own() -> None:
    url = "redis+sentinel://u:p%2Fw@a:1,b/mymaster/2?sentinel_username=s&sentinel_password=t%40"
    place = SentinelUrl.parse(load(url).redis_url)
    assert place is not None
    assert (place.hosts, place.service, place.db) == ((("a", 1), ("b", 26379)), "mymaster", 2)
    assert (place.user, place.password) == ("u", "p/w")
    assert "p/w" not in repr(place)
    asked = sentinel_options(place)
    assert (asked["username"], asked["password"]) == ("s", "t@")
    assert "ssl" not in asked


@pytest.mark.parametrize(("verify", "reqs"), [("true", "required"), ("false", "none")])
def test_servers_and_sentinels_are_reached_over_tls(verify: str, reqs: str) -> None:
    url = load("rediss+sentinel://a/mymaster/0", REDIS_TLS_VERIFY=verify).redis_url
    place = SentinelUrl.parse(url)
    assert place is not None
    assert sentinel_options(place)["ssl"] is True
    for client in (one := open_redis(url), twin_for_rq(one)):
        pool = client.connection_pool
        assert isinstance(pool, SentinelConnectionPool)
        assert pool.connection_class is SentinelManagedSSLConnection
        assert pool.connection_kwargs.get("ssl_cert_reqs", "required") == reqs
