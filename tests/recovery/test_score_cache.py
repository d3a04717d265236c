import numpy as np
import pytest
from small import network

from toolchain.recovery.score_cache import keep_scores, read_scores, score_key

SCORES = {"a/b": np.array([0.5, 0.25]), "ü": np.array([1.0, 2.0, 3.0])}
WIDTHS = {"a/b": 2, "ü": 3}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNEC_CACHE", str(tmp_path))
    return tmp_path


def feeds(seed):
    return [{"x": np.random.default_rng(seed).standard_normal((2, 3)).astype(np.float32)}]


def test_what_was_kept_is_read_whatever_groups_are_called():
    keep_scores("key", SCORES)
    found = read_scores("key", WIDTHS)
    assert list(found) == list(SCORES)
    for name, values in SCORES.items():
        np.testing.assert_array_equal(found[name], values)


def test_nothing_is_read_where_nothing_was_kept():
    assert read_scores("key", WIDTHS) is None


def test_scores_of_other_groups_are_not_taken():
    keep_scores("key", SCORES)
    assert read_scores("key", {"a/b": 2, "ü": 4}) is None


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a file", b"\x93NUMPY"])
def test_a_damaged_file_is_as_good_as_none(cache, content):
    keep_scores("key", SCORES)
    (path,) = (cache / "scores").iterdir()
    path.write_bytes(content)
    assert read_scores("key", WIDTHS) is None


def test_nothing_half_written_is_left_behind(cache):
    keep_scores("key", SCORES)
    assert [path.name for path in (cache / "scores").iterdir()] == ["key.npz"]


def test_the_key_is_that_of_model_samples_and_options():
    keys = [
        score_key(network(), feeds(0), "a"),
        score_key(network(seed=1), feeds(0), "a"),
        score_key(network(), feeds(1), "a"),
        score_key(network(), feeds(0), "b"),
    ]
    assert len(set(keys)) == 4
    assert score_key(network(), feeds(0), "a") == keys[0]
