from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from latencies import MORNING, entry, identity, signature
from pydantic import ValidationError

from toolchain import __version__
from toolchain.store.entry import Entry


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
