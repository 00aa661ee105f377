"""What comes next, by examples: daylight saving in odd zones, rare dates, and what is refused."""

import zoneinfo
from datetime import UTC, datetime, timedelta, timezone

import pytest

from scheduler.recurrence import BadRecurrence, Recurrence, check, next_after, upcoming

pytestmark = pytest.mark.one_shard_is_enough


def at(text: str) -> datetime:
    """A moment in UTC, from "2026-03-29 01:00"."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def told(recurrence: Recurrence, after: str, count: int) -> list[str]:
    """The next times, in UTC, without the seconds."""
    return [f"{time:%Y-%m-%d %H:%M}" for time in upcoming(recurrence, at(after), count)]


def shown(recurrence: Recurrence, after: str, count: int) -> list[str]:
    """The next times as clocks in the recurrence's zone show them."""
    zone = zoneinfo.ZoneInfo(recurrence.timezone)
    return [f"{time.astimezone(zone):%Y-%m-%d %H:%M}" for time in upcoming(recurrence, at(after), count)]


def refused(recurrence: Recurrence) -> BadRecurrence:
    with pytest.raises(BadRecurrence) as caught:
        check(recurrence)
    return caught.value


def test_a_time_that_does_not_exist_runs_at_the_first_minute_after_the_gap() -> None:
    daily = Recurrence(daily="02:30", timezone="Europe/Berlin")
    assert shown(daily, "2026-03-28 00:00", 3) == ["2026-03-28 02:30", "2026-03-29 03:00", "2026-03-30 02:30"]


def test_a_time_that_exists_twice_runs_once_and_the_first_time() -> None:
    daily = Recurrence(daily="02:30", timezone="Europe/Berlin")
    assert told(daily, "2026-10-24 12:00", 2) == ["2026-10-25 00:30", "2026-10-26 01:30"]
    assert next_after(daily, at("2026-10-25 01:10")) == at("2026-10-26 01:30")


def test_several_times_in_one_gap_run_once_and_together_with_the_regular_one_after_it() -> None:
    cron = Recurrence(cron="*/20 1-3 * * *", timezone="Europe/Berlin")
    assert shown(cron, "2026-03-29 00:30", 4) == [
        "2026-03-29 01:40",
        "2026-03-29 03:00",
        "2026-03-29 03:20",
        "2026-03-29 03:40",
    ]


@pytest.mark.parametrize("day", ["2026-03-29", "2026-06-01", "2026-10-25"])
def test_every_quarter_of_an_hour_is_real_time_on_any_day(day: str) -> None:
    times = upcoming(Recurrence(cron="*/15 * * * *", timezone="Europe/Berlin"), at(f"{day} 00:00"), 40)
    assert times == [at(f"{day} 00:00") + number * timedelta(minutes=15) for number in range(1, 41)]


def test_only_a_bare_star_counts_hours_that_pass() -> None:
    every_hour = Recurrence(cron="30 * * * *", timezone="Europe/Berlin")
    each_hour = Recurrence(cron="30 */1 * * *", timezone="Europe/Berlin")
    assert told(every_hour, "2026-10-25 00:00", 3) == ["2026-10-25 00:30", "2026-10-25 01:30", "2026-10-25 02:30"]
    assert told(each_hour, "2026-10-25 00:00", 2) == ["2026-10-25 00:30", "2026-10-25 02:30"]
    assert told(every_hour, "2026-03-29 00:00", 2) == ["2026-03-29 00:30", "2026-03-29 01:30"]
    assert told(each_hour, "2026-03-29 00:00", 3) == ["2026-03-29 00:30", "2026-03-29 01:00", "2026-03-29 01:30"]


def test_half_an_hour_put_back_on_lord_howe_comes_twice_for_every_hour_and_once_for_a_time() -> None:
    every_hour = Recurrence(cron="30 * * * *", timezone="Australia/Lord_Howe")
    assert told(every_hour, "2026-04-04 14:00", 3) == ["2026-04-04 14:30", "2026-04-04 15:00", "2026-04-04 16:00"]
    assert told(every_hour, "2026-04-04 14:45", 1) == ["2026-04-04 15:00"]
    daily = Recurrence(daily="01:45", timezone="Australia/Lord_Howe")
    assert told(daily, "2026-04-04 12:00", 2) == ["2026-04-04 14:45", "2026-04-05 15:15"]


@pytest.mark.parametrize(
    ("zone", "daily", "after", "times"),
    [
        ("Australia/Lord_Howe", "02:15", "2026-10-03 12:00", ["2026-10-03 15:30", "2026-10-04 15:15"]),
        ("America/Santiago", "00:00", "2026-09-05 12:00", ["2026-09-06 04:00", "2026-09-07 03:00"]),
        ("America/Santiago", "23:30", "2026-04-04 12:00", ["2026-04-05 02:30", "2026-04-06 03:30"]),
        ("America/Sao_Paulo", "00:00", "2018-11-03 12:00", ["2018-11-04 03:00", "2018-11-05 02:00"]),
        ("Asia/Beirut", "00:00", "2026-03-28 12:00", ["2026-03-28 22:00", "2026-03-29 21:00"]),
        ("Africa/Cairo", "00:00", "2026-04-23 12:00", ["2026-04-23 22:00", "2026-04-24 21:00"]),
        ("Africa/Casablanca", "02:30", "2026-02-14 12:00", ["2026-02-15 01:30", "2026-02-16 02:30"]),
        ("Africa/Casablanca", "02:30", "2026-03-21 12:00", ["2026-03-22 02:00", "2026-03-23 01:30"]),
        ("Antarctica/Troll", "01:00", "2026-03-28 12:00", ["2026-03-29 01:00", "2026-03-29 23:00"]),
        ("Antarctica/Troll", "02:59", "2026-03-28 12:00", ["2026-03-29 01:00", "2026-03-30 00:59"]),
        ("Antarctica/Troll", "01:30", "2026-10-24 12:00", ["2026-10-24 23:30", "2026-10-26 01:30"]),
        ("Europe/Dublin", "01:30", "2026-03-28 12:00", ["2026-03-29 01:00", "2026-03-30 00:30"]),
        ("Europe/Dublin", "01:30", "2026-10-24 12:00", ["2026-10-25 00:30", "2026-10-26 01:30"]),
        ("Asia/Kathmandu", "06:00", "2026-01-01 00:00", ["2026-01-01 00:15", "2026-01-02 00:15"]),
        ("Pacific/Apia", "12:00", "2011-12-29 12:00", ["2011-12-29 22:00", "2011-12-30 10:00", "2011-12-30 22:00"]),
    ],
)
def test_odd_zones_keep_the_same_rules(zone: str, daily: str, after: str, times: list[str]) -> None:
    assert told(Recurrence(daily=daily, timezone=zone), after, len(times)) == times


def test_a_gap_that_ends_between_two_minutes_is_over_at_the_next_one() -> None:
    # Liberia's clocks went forward by 44 minutes and 30 seconds, to 00:44:30.
    daily = Recurrence(daily="00:10", timezone="Africa/Monrovia")
    assert shown(daily, "1972-01-06 12:00", 2) == ["1972-01-07 00:45", "1972-01-08 00:10"]


def test_every_hour_of_a_day_that_was_left_out_never_passed() -> None:
    cron = Recurrence(cron="0 * 30 12 *", timezone="Pacific/Apia")
    assert shown(cron, "2011-12-01 00:00", 1) == ["2012-12-30 00:00"]


@pytest.mark.parametrize(
    ("cron", "after", "times"),
    [
        ("0 0 29 2 *", "2026-01-01", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        ("0 0 29 2 *", "2096-03-01", ["2104-02-29 00:00"]),
        ("0 0 * 2 MON#5", "2026-01-01", ["2044-02-29 00:00", "2072-02-29 00:00", "2112-02-29 00:00"]),
        ("0 0 29 2 MON", "2026-01-01", ["2026-02-02 00:00", "2026-02-09 00:00"]),
        ("0 0 31 * *", "2026-01-31", ["2026-03-31 00:00", "2026-05-31 00:00", "2026-07-31 00:00"]),
        ("0 0 L * *", "2028-01-31", ["2028-02-29 00:00", "2028-03-31 00:00"]),
        ("0 0 LW * *", "2026-05-01", ["2026-05-29 00:00", "2026-06-30 00:00"]),
        ("0 9 * * 5L", "2026-11-01", ["2026-11-27 09:00", "2026-12-25 09:00"]),
        ("0 9 * * mon#2", "2026-11-01", ["2026-11-09 09:00", "2026-12-14 09:00"]),
        ("0 0 * * 0", "2026-11-22", ["2026-11-29 00:00"]),
        ("0 0 * * 7", "2026-11-22", ["2026-11-29 00:00"]),
        ("30 8 * jan,Jul MON-FRI", "2026-06-30 09:00", ["2026-07-01 08:30", "2026-07-02 08:30", "2026-07-03 08:30"]),
        ("5/20 22-23 * * *", "2026-01-01 22:30", ["2026-01-01 22:45", "2026-01-01 23:05", "2026-01-01 23:25"]),
        (" 0\t12  1-10/3 * * ", "2026-01-01 13:00", ["2026-01-04 12:00", "2026-01-07 12:00", "2026-01-10 12:00"]),
        ("0 0 13 * FRI", "2026-11-01", ["2026-11-06 00:00", "2026-11-13 00:00", "2026-11-20 00:00"]),
        ("0 0 */2 * FRI", "2026-11-01", ["2026-11-13 00:00", "2026-11-27 00:00"]),
    ],
)
def test_dates_come_as_the_expression_names_them(cron: str, after: str, times: list[str]) -> None:
    recurrence = Recurrence(cron=cron)
    check(recurrence)
    assert told(recurrence, after, len(times)) == times


def test_the_next_time_is_strictly_later_and_to_the_minute() -> None:
    daily = Recurrence(daily="12:00")
    assert next_after(daily, at("2026-01-01 11:59:59.999999")) == at("2026-01-01 12:00")
    assert next_after(daily, at("2026-01-01 12:00")) == at("2026-01-02 12:00")
    assert next_after(daily, at("2026-01-01 12:00:00.000001")) == at("2026-01-02 12:00")


def test_a_moment_may_be_of_any_zone_and_the_answer_is_in_utc() -> None:
    moment = datetime(2026, 1, 1, 23, 30, tzinfo=timezone(timedelta(hours=-8)))
    following = next_after(Recurrence(daily="00:00"), moment)
    assert (following, following and following.tzinfo) == (at("2026-01-03 00:00"), UTC)


def test_a_naive_moment_is_an_error() -> None:
    with pytest.raises(ValueError, match="aware"):
        next_after(Recurrence(daily="00:00"), at("2026-01-01").replace(tzinfo=None))


def test_time_ends_with_the_year_9000() -> None:
    yearly = Recurrence(cron="0 0 1 1 *", timezone="Pacific/Kiritimati")
    assert next_after(yearly, at("8998-06-01")) == at("8998-12-31 10:00")
    assert upcoming(yearly, at("8998-06-01"), 9) == [
        at("8998-12-31 10:00"),
        at("8999-12-31 10:00"),
        at("9000-12-31 10:00"),
    ]
    assert next_after(yearly, datetime.max.replace(tzinfo=UTC)) is None


@pytest.mark.parametrize("daily", ["00:00", "09:05", "19:59", "23:59"])
def test_any_time_of_day_is_taken(daily: str) -> None:
    check(Recurrence(daily=daily))
    assert shown(Recurrence(daily=daily), "2026-01-01 23:59", 1) == [f"2026-01-02 {daily}"]


@pytest.mark.parametrize(
    "daily", ["", "9:05", "24:00", "12:60", "12:00:00", "12.00", "12:00\n", "-1:00", "1\u0662:00", " 12:00"]
)
def test_another_time_of_day_is_refused(daily: str) -> None:
    error = refused(Recurrence(daily=daily))
    assert (error.field, error.rule) == ("daily", "must be HH:MM, from 00:00 to 23:59")


@pytest.mark.parametrize(
    ("cron", "rule"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("* * * * * *", "five fields"),
        ("0 0 * * * 2026 *", "five fields"),
        ("@daily", "must be of digits"),
        ("0 0 * * ?", "must be of digits"),
        ("0 0 1 * *\n", "must be of digits"),
        ("0 0 * * *\x00", "must be of digits"),
        ("\u0660 0 * * *", "must be of digits"),
        ("0\u00a00 * * *", "must be of digits"),
        ("0 0 * * ²L", "must be of digits"),
        ("0," * 128 + "0 0 * * *", "at most 256 characters"),
        ("60 * * * *", "valid minute (0 to 59)"),
        ("*/0 * * * *", "valid minute"),
        ("5-1 * * * *", "valid minute"),
        ("1,,2 * * * *", "valid minute"),
        ("* 24 * * *", "valid hour (0 to 23)"),
        ("* 1-2-3 * * *", "valid hour"),
        ("0 0 0 * *", "valid day of month"),
        ("0 0 32 * *", "valid day of month"),
        ("0 0 1 13 *", "valid month (1 to 12, or JAN to DEC)"),
        ("0 0 1 MAI *", "valid month"),
        ("0 0 * * 8", "valid day of week (0 to 7, or SUN to SAT)"),
        ("0 0 * * MON#6", "valid day of week"),
        ("0 0 * * FRIL", "valid day of week"),
        ("0 0 30 2 *", "that its months have"),
        ("0 0 31 2,4,6,9,11 *", "that its months have"),
        ("5-5/2 * * * *", "must not step through a range of one"),
        ("0 0 * * mon-MON/2", "must not step through a range of one"),
        ("0 0 */20 * 1L", "must name a time that comes within 50 years"),
    ],
)
def test_another_expression_is_refused_with_its_rule(cron: str, rule: str) -> None:
    error = refused(Recurrence(cron=cron))
    assert error.field == "cron"
    assert error.rule.startswith("must ")
    assert rule in error.rule


def test_exactly_one_of_daily_and_cron_is_given() -> None:
    assert refused(Recurrence(daily="12:00", cron="0 12 * * *")).rule == "must not be given together with daily"
    assert refused(Recurrence()).rule == "must be given where daily is not"


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Argentina/Ushuaia", "Etc/GMT+12", "Asia/Calcutta"])
def test_an_iana_zone_is_taken(zone: str) -> None:
    check(Recurrence(daily="12:00", timezone=zone))


@pytest.mark.parametrize(
    "zone",
    [
        "", ".", "..", "../etc/passwd", "/etc/localtime", "/usr/share/zoneinfo/UTC", "Europe", "Europe/",
        "Europe/Berlin/", "Europe//Berlin", "Europe/../Europe/Berlin", "europe/berlin", "Europe/Berlin\x00",
        "utc", "Utc", "\x00", "UTC\n", " UTC", "localtime", "posixrules", "Factory", "posix/UTC", "right/UTC",
        "zone.tab", "tzdata.zi", "+02:00", "\ud800", "CET-1CEST",
    ],
)  # fmt: skip
def test_another_zone_is_refused(zone: str) -> None:
    error = refused(Recurrence(daily="12:00", timezone=zone))
    assert (error.field, error.rule) == ("timezone", "must be the IANA name of a time zone, such as Europe/Berlin")


def test_what_never_comes_again_has_no_next_time() -> None:
    never = Recurrence(cron="0 0 */20 * 1L")
    assert next_after(never, at("2026-01-01")) is None
    assert upcoming(never, at("2026-01-01"), 3) == []
