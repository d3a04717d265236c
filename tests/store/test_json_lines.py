import pytest
from latencies import entry, network_entry

from toolchain.errors import DataError, EnvironmentMissing
from toolchain.store.json_lines import read_lines, to_lines

HEADER = '{"format":"prunec latencies","schema":2}'


def test_entries_are_read_back_as_they_were_written(tmp_path):
    several = [entry(), network_entry(), entry(65), entry(device="a\u2028strange\nname")]
    file = tmp_path / "store.jsonl"
    file.write_text("".join(f"{line}\n" for line in to_lines(several)), encoding="utf-8")
    assert file.read_text().startswith(HEADER + "\n")
    assert read_lines(file) == several


@pytest.mark.parametrize("content", [b"", b"\n", b"latencies", b"{}", b'{"format":"others","schema":1}\n'])
def test_a_file_without_the_header_is_refused(content, tmp_path):
    file = tmp_path / "store.jsonl"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"store.jsonl is not an exported latency store; write it with `prunec store"):
        read_lines(file)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_is_no_text_or_absent_is_refused(content, tmp_path):
    file = tmp_path / "store.jsonl"
    if content:
        file.write_bytes(content)
    with pytest.raises(DataError, match=r"store.jsonl cannot be read: "):
        read_lines(file)


def test_a_newer_schema_is_refused(tmp_path):
    file = tmp_path / "store.jsonl"
    file.write_text(HEADER.replace("2", "3"))
    with pytest.raises(EnvironmentMissing, match=r"by a newer prunec \(schema 3, this one knows 2\); update prunec$"):
        read_lines(file)


def test_an_older_schema_is_read(tmp_path):
    file = tmp_path / "store.jsonl"
    file.write_text(f"{HEADER.replace('2', '1')}\n{entry().to_json()}\n")
    assert read_lines(file) == [entry()]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"line 3: Invalid JSON"),
        ("", r"line 3: Invalid JSON"),
        ('{"signature": 1}', r"line 3: signature: "),
        ('{"network": 1}', r"line 3: network: "),
        ("[]", r"line 3: Input should be "),
    ],
)
def test_a_line_that_is_no_entry_is_named(line, message, tmp_path):
    file = tmp_path / "store.jsonl"
    file.write_text(f"{HEADER}\n{entry().to_json()}\n{line}\n")
    with pytest.raises(DataError, match=message):
        read_lines(file)
