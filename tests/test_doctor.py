"""The doctor: what is not fit for production is said with its mend, and nothing else is."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core import checks
from django.core.management import call_command
from django.utils import timezone

from notifications import events, partitions, wiring
from notifications.partitions import DAY, Partition
from notifications.reporting import Reporter
from notifications.stream import keys
from notifications.stream.client import Shards, connect
from notify_project.doctor import configuration, disk, examination, pipeline, postgresql, redis_server, replica
from notify_project.doctor.disk import Space
from notify_project.doctor.finding import Finding

pytestmark = pytest.mark.one_shard_is_enough

STRONG = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP"
NOW = timezone.now()
SETTINGS = configuration.Facts(
    secret_key=STRONG,
    debug=False,
    allowed_hosts=["notify.example.org"],
    https=True,
    fault_injection=False,
    failpoint="",
    messages=[],
)
POSTGRESQL = postgresql.Facts(
    version=160004,
    in_recovery=False,
    settings={
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "max_connections": "100",
        "superuser_reserved_connections": "3",
        "idle_in_transaction_session_timeout": "5000",
        "statement_timeout": "30000",
        "lock_timeout": "0",
    },
    ahead_seconds=0.01,
    unapplied=[],
    partitions=[Partition("p", partitions.id_at(NOW - DAY), partitions.id_at(NOW + DAY))],
    now=NOW,
    pool=16,
    pooled=False,
    webs=2,
    commands=5,
    space=Space(100 * disk.GIB, 50 * disk.GIB),
)
REDIS = redis_server.Facts(
    name="Redis",
    version="7.0.15",
    role="master",
    settings={
        "maxmemory": str(4 * disk.GIB),
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "appendfsync": "always",
    },
    used_bytes=disk.GIB,
    last_write_failed=False,
    ahead_seconds=-0.01,
    space=None,
)
ALIVE = dict.fromkeys(pipeline.KINDS, 1)
IN_REDIS = pipeline.InRedis(shards=4, fixed=4, alive=ALIVE, beyond=[], elsewhere=0)
LETTERS = pipeline.Letters(0, None)


@pytest.mark.parametrize(
    ("all_checks", "facts"),
    [
        (configuration.CHECKS, SETTINGS),
        (postgresql.CHECKS, POSTGRESQL),
        (replica.CHECKS, replica.Facts("ok")),
        (redis_server.CHECKS, REDIS),
        (pipeline.CHECKS, IN_REDIS),
        (pipeline.CHECKS_OF_LETTERS, LETTERS),
        (disk.CHECKS, disk.Facts(65536)),
    ],
)
def test_what_is_fit_is_ok_and_needs_no_mend(all_checks: Any, facts: Any) -> None:
    found = [check(facts) for check in all_checks]
    assert [finding for finding in found if finding and (finding.level != "ok" or finding.mend)] == []
    assert any(found)


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ([""], None),
        (["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"], None),
        (["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"], None),
        (["10.0.0.1:1", "10.0.0.1:2", "10.0.0.2:1", "10.0.0.2:2"], None),
        (["10.0.0.1:1", "10.0.0.2:1", "10.0.0.1:2"], "2 of 3 are on 10.0.0.1"),
    ],
)
def test_a_host_that_has_most_primaries_takes_the_majority_with_it(places: list[str], words: str | None) -> None:
    found = redis_server.spread(places)
    assert (found and found.detail) == words


def dead(facts: pipeline.Letters) -> Finding:
    return pipeline.letters(facts)


def postgresql_with(**settings: str) -> postgresql.Facts:
    return POSTGRESQL._replace(settings={**POSTGRESQL.settings, **settings})


def redis_with(name: str, value: str) -> redis_server.Facts:
    return REDIS._replace(settings={**REDIS.settings, name: value})


WARNING = checks.Warning("You have forgotten this. And more words.", id="security.W999")


@pytest.mark.parametrize(
    ("check", "facts", "level", "words"),
    [
        (configuration.secret_key, SETTINGS._replace(secret_key=""), "fail", "not set"),
        (configuration.secret_key, SETTINGS._replace(secret_key="x" * 60), "fail", "guessed"),
        (configuration.secret_key, SETTINGS._replace(secret_key=f"django-insecure-{STRONG}"), "fail", "guessed"),
        (configuration.secret_key, SETTINGS._replace(secret_key=STRONG[:40]), "warn", "40 characters"),
        (configuration.debug, SETTINGS._replace(debug=True), "fail", "on"),
        (configuration.hosts, SETTINGS._replace(allowed_hosts=["*"]), "fail", "any name"),
        (configuration.hosts, SETTINGS._replace(allowed_hosts=["localhost"]), "warn", "this machine"),
        (configuration.https, SETTINGS._replace(https=False), "warn", "off"),
        (configuration.fault_injection, SETTINGS._replace(fault_injection=True), "fail", "on"),
        (configuration.failpoint, SETTINGS._replace(failpoint="worker.stored"), "fail", "worker.stored"),
        (configuration.deployment, SETTINGS._replace(messages=[WARNING]), "warn", "W999: You have forgotten"),
        (postgresql.version, POSTGRESQL._replace(version=130011), "fail", "13.11"),
        (postgresql.writable, POSTGRESQL._replace(in_recovery=True), "fail", "standby"),
        (postgresql.durability, postgresql_with(fsync="off"), "fail", "fsync off"),
        (postgresql.durability, postgresql_with(full_page_writes="off"), "fail", "full_page_writes off"),
        (postgresql.durability, postgresql_with(synchronous_commit="off"), "fail", "synchronous_commit off"),
        (postgresql.time_outs, POSTGRESQL._replace(pooled=True), "fail", "not set: lock_timeout"),
        (postgresql.connections, POSTGRESQL._replace(webs=6), "fail", "112 of 97"),
        (postgresql.clock, POSTGRESQL._replace(ahead_seconds=-2.0), "warn", "2.000 s behind"),
        (postgresql.clock, POSTGRESQL._replace(ahead_seconds=61.0), "fail", "ahead of"),
        (postgresql.migrations, POSTGRESQL._replace(unapplied=["dlq.0009_x"]), "fail", "dlq.0009_x"),
        (postgresql.present, POSTGRESQL._replace(now=NOW + 2 * DAY), "warn", "none is for the present"),
        (postgresql.room, POSTGRESQL._replace(space=Space(100 * disk.GIB, disk.GIB // 2)), "fail", "0.5 of 100.0"),
        (postgresql.room, POSTGRESQL._replace(space=Space(100 * disk.GIB, 9 * disk.GIB)), "warn", "9.0 of 100.0"),
        (replica.well, replica.Facts("is no replica"), "warn", "is no replica; lists come from the primary"),
        (redis_server.version, REDIS._replace(version="6.2.14"), "fail", "6.2.14"),
        (redis_server.version, REDIS._replace(name="Valkey", version="7.0.1"), "fail", "7.0.1"),
        (redis_server.role, REDIS._replace(role="slave"), "fail", "slave"),
        (redis_server.policy, redis_with("maxmemory-policy", "allkeys-lru"), "fail", "allkeys-lru"),
        (redis_server.appendonly, redis_with("appendonly", "no"), "fail", "no"),
        (redis_server.appendfsync, redis_with("appendfsync", "everysec"), "fail", "everysec"),
        (redis_server.appendfsync, REDIS._replace(settings={}), "warn", "not told"),
        (redis_server.memory, redis_with("maxmemory", "0"), "warn", "without a limit"),
        (redis_server.memory, REDIS._replace(used_bytes=4 * disk.GIB), "warn", "4096 MiB used of 4096"),
        (redis_server.last_write, REDIS._replace(last_write_failed=True), "fail", "last write failed"),
        (redis_server.clock, REDIS._replace(ahead_seconds=2.0), "warn", "ahead of"),
        (redis_server.replicas, REDIS._replace(place="10.0.0.1:7000"), "warn", "none"),
        (pipeline.processes, IN_REDIS._replace(alive={"web": 2}), "fail", "without a worker, Notify stores nothing"),
        (pipeline.shards, IN_REDIS._replace(beyond=[5]), "fail", "holds something in 5"),
        (pipeline.shards, IN_REDIS._replace(elsewhere=3), "fail", "3 of the events"),
        (dead, pipeline.Letters(2, timezone.now()), "warn", "2 wait"),
        (disk.files, disk.Facts(1024), "warn", "1024"),
    ],
)
def test_what_is_not_fit_is_said_with_its_mend(
    check: Callable[[Any], Finding], facts: Any, level: str, words: str
) -> None:
    finding = check(facts)
    assert (finding.level, bool(finding.mend)) == (level, True)
    assert words in finding.detail


def test_dead_letters_of_yesterday_are_no_alarm() -> None:
    assert pipeline.letters(pipeline.Letters(2, timezone.now() - timedelta(days=1))).level == "ok"


@pytest.fixture
def setting() -> Iterator[Callable[[str, str], None]]:
    """Set the tests' own Valkey up in another way, for one test."""
    client: Any = wiring.shards().client
    before: dict[str, str] = {}

    def put(name: str, value: str) -> None:
        before.update(client.config_get(name))
        client.config_set(name, value)

    yield put
    for name, value in before.items():
        client.config_set(name, value)


def found(check: str) -> Finding:
    return next(finding for finding in examination.examine() if finding.check == check)


@pytest.mark.django_db
@pytest.mark.not_on_a_cluster("each node is a finding of its own")
def test_a_server_that_is_set_up_to_lose_is_found_out(setting: Callable[[str, str], None]) -> None:
    assert found("Valkey's appendfsync").level == "ok"
    setting("appendfsync", "everysec")
    assert found("Valkey's appendfsync").level == "fail"


@pytest.mark.django_db
def test_a_process_that_tells_of_itself_is_alive() -> None:
    assert "without a scheduler" in found("processes").detail
    with Reporter("scheduler", "host:1:1") as reporter:
        reporter._tell()
        assert "1 scheduler alive" in found("processes").detail


@pytest.mark.django_db
def test_events_of_another_number_of_shards_are_found_out() -> None:
    client: Any = wiring.shards().client
    assert found("shards").level == "ok"
    beyond = wiring.shards().count + 7
    client.hset(keys.inflight(beyond), events.new_id("alice"), "queued live 1-1")
    assert f"holds something in {beyond}" in found("shards").detail
    client.flushall()
    client.hset(keys.inflight(0), mapping={events.new_id(f"user-{n}"): "queued live 1-1" for n in range(50)})
    assert pipeline.gather(Shards(client, 1)).elsewhere == 0
    assert pipeline.gather(Shards(client, 4)).elsewhere > 10


@pytest.mark.django_db
def test_a_server_that_is_away_is_one_finding_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = Shards(connect("unix:///nowhere/valkey.sock", timeout_seconds=1), 1)
    monkeypatch.setattr(wiring, "shards", lambda: nowhere)
    findings = {finding.check: finding for finding in examination.examine()}
    assert findings["Redis"].level == "fail"
    assert "does not answer" in findings["Redis"].detail
    assert findings["PostgreSQL's role"].level == "ok"


@pytest.mark.django_db
def test_the_command_ends_with_1_where_something_is_not_fit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifications.process.single_connection", lambda: None)
    with pytest.raises(SystemExit) as ended:
        call_command("doctor", "--json")
    assert ended.value.code == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["fit"] is False
    assert {"level", "check", "detail", "mend"} == set(answer["findings"][0])
    good = Finding("ok", "all", "is well")
    monkeypatch.setattr("notify_project.management.commands.doctor.examine", lambda: iter([good]))
    call_command("doctor")
    assert capsys.readouterr().out == "ok    all: is well\nfit for production\n"
