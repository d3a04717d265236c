from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from latencies import MORNING, entry, identity, signature
from pydantic import ValidationError

from toolchain import __version__
from toolchain.measure.machine_load import waiting_share
from toolchain.store.entry import SETTLED, Entry
from toolchain.targets.contract import Clock


def test_an_entry_is_read_back_as_it_was_written():
    assert Entry.from_json(entry().to_json()) == entry()
    assert "\n" not in entry().to_json()


def test_a_new_entry_says_when_and_by_which_version():
    found = Entry.now(signature(), entry().latency)
    assert found.tool_version == __version__
    assert timedelta() <= datetime.now(UTC) - found.created_at < timedelta(minutes=1)


def test_the_key_is_that_of_machine_and_signature_alone():
    assert entry().key == entry(median_ms=9.0).key
    assert len({entry().key, entry(65).key, entry(device="another").key}) == 3
    assert entry().answers(identity(), signature())
    assert not entry().answers(identity("another"), signature())
    assert not entry().answers(identity(), signature(65))


def test_timestamps_sort_by_time_wherever_they_were_written():
    there = replace(entry(), created_at=MORNING.astimezone(timezone(timedelta(hours=9))))
    later = replace(entry(), created_at=MORNING + timedelta(microseconds=1))
    assert there.timestamp == entry().timestamp < later.timestamp


def test_a_time_without_a_zone_is_refused():
    text = entry().to_json().replace("08:00:00Z", "08:00:00")
    with pytest.raises(ValidationError, match="timezone"):
        Entry.from_json(text)


def test_a_new_entry_says_how_busy_the_machine_was_where_that_matters():
    measured, modelled = (replace(entry().latency, clock=clock) for clock in (Clock.HOST, Clock.MODELLED))
    assert (Entry.now(signature(), measured).waiting_share is None) == (waiting_share() is None)
    assert Entry.now(signature(), modelled).waiting_share is None


def test_an_entry_of_an_earlier_version_is_read_and_believed():
    old = entry().to_json().replace(',"waiting_share":null', "")
    assert "waiting_share" not in old
    assert Entry.from_json(old) == entry()
    assert not Entry.from_json(old).is_outdone(0.0, MORNING + timedelta(days=365))


@pytest.mark.parametrize(
    ("then", "now", "outdone"),
    [
        (0.8, 0.0, True),
        (0.8, 0.39, True),
        (0.8, 0.4, False),
        (0.1, 0.0, False),
        (0.0, 0.0, False),
        (0.8, None, False),
        (None, 0.0, False),
    ],
)
def test_what_was_timed_on_a_busy_machine_is_outdone_on_a_calm_one(then, now, outdone):
    assert entry(waiting_share=then).is_outdone(now, MORNING + SETTLED) == outdone
    assert not entry(waiting_share=then).is_outdone(now, MORNING + SETTLED - timedelta(seconds=1))
