from dataclasses import dataclass

import pytest

from toolchain.measure.journal import Journal, key_of


@dataclass(frozen=True)
class Number:
    value: int

    def to_json(self):
        return str(self.value)

    @staticmethod
    def from_json(text):
        return Number(int(text))


def never():
    raise AssertionError("measured twice")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.jsonl"


def test_what_was_measured_is_not_measured_again_after_a_restart(path):
    assert Journal(path).remember("a", Number, lambda: Number(7)) == Number(7)
    again = Journal(path)
    assert again.remember("a", Number, never) == Number(7)
    assert again.remember("a", Number, never) == Number(7)
    assert again.reused == 1


def test_what_this_run_measured_is_not_counted_as_an_earlier_ones(path):
    journal = Journal(path)
    for _ in range(2):
        journal.remember("a", Number, lambda: Number(7))
    assert journal.reused == 0


def test_a_torn_line_is_dropped_and_what_came_before_it_stays(path):
    journal = Journal(path)
    for number, key in enumerate("abc"):
        journal.remember(key, Number, lambda number=number: Number(number))
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        complete = whole[:cut].count(b"\n")
        again = Journal(path)
        for number, key in enumerate("abc"[:complete]):
            assert again.remember(key, Number, never) == Number(number)
        assert path.read_bytes() == b"".join(whole.splitlines(keepends=True)[:complete])


def test_garbage_is_dropped(path):
    path.write_bytes(b'["a","1"]\n\x00\xff garbage\n["b","2"]\n')
    journal = Journal(path)
    assert journal.remember("a", Number, never) == Number(1)
    assert journal.remember("b", Number, lambda: Number(3)) == Number(3)
    assert Journal(path).remember("b", Number, never) == Number(3)


def test_the_end_of_a_compile_removes_its_journal(path):
    journal = Journal(path)
    journal.remember("a", Number, lambda: Number(1))
    journal.close()
    assert not path.exists()
    journal.close()


def test_without_a_path_nothing_is_written_but_remembered():
    journal = Journal(None)
    journal.remember("a", Number, lambda: Number(1))
    assert journal.remember("a", Number, never) == Number(1)


def test_keys_tell_their_parts_apart():
    assert key_of("ab", "c") != key_of("a", "bc")
    assert len(key_of("a")) == 64
