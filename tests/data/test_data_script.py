import re
import sys

import numpy as np
import pytest

from toolchain.data import data_script
from toolchain.data.open_data import open_data
from toolchain.data.preprocess import Preprocess
from toolchain.errors import DataError, UsageError


@pytest.fixture
def script(tmp_path):
    def write(body):
        path = tmp_path / "loader.py"
        path.write_text(f"import numpy as np\n\ndef load_data():\n{body}")
        return path

    return write


def refused(path, interface, message):
    with pytest.raises(DataError, match=re.escape(message)):
        open_data(path, interface)


FEED = "{'image': np.full((3, 3, 8, 8), i, np.float32), 'y': np.arange(3)}"


def test_feeds_are_joined_and_the_key_that_is_no_input_is_the_labels(script, classifier):
    dataset = open_data(script(f"    for i in range(2): yield {FEED}"), classifier)
    batch = dataset.batch([2, 3])
    np.testing.assert_array_equal(batch.feeds["image"][:, 0, 0, 0], [0, 1])
    np.testing.assert_array_equal(batch.labels, [2, 0])
    assert len(dataset) == 6


def test_a_list_will_do_and_labels_may_be_absent(script, classifier):
    dataset = open_data(script("    return [{'image': np.ones((1, 3, 8, 8), np.float32)}] * 3"), classifier)
    assert (len(dataset), dataset.labels) == (3, None)


def test_a_script_may_reuse_its_buffer(script, classifier):
    body = "    x = np.zeros((1, 3, 8, 8), np.float32)\n    for i in range(3): x[:] = i; yield {'image': x}"
    feeds = open_data(script(body), classifier).batch(range(3)).feeds
    np.testing.assert_array_equal(feeds["image"][:, 0, 0, 0], [0, 1, 2])


def test_a_script_may_import_its_neighbours_and_the_search_path_stays_as_it_was(tmp_path, classifier):
    (tmp_path / "neighbour.py").write_text("COUNT = 5\n")
    path = tmp_path / "loader.py"
    path.write_text(
        "import numpy as np\ndef load_data():\n    from neighbour import COUNT\n"
        "    yield {'image': np.ones((COUNT, 3, 8, 8), np.float32)}\n"
    )
    before = list(sys.path)
    assert len(open_data(path, classifier)) == 5
    assert sys.path == before


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("    raise KeyError('no such split')", "loader.py:4: KeyError: 'no such split'; mend the file"),
        (
            f"    for i in range(2): yield {FEED}\n    1 / 0",
            "loader.py:5: ZeroDivisionError: division by zero",
        ),
        ("    raise SystemExit(3)", "loader.py:4: SystemExit: 3"),
        ("    return 1 +", "loader.py:4: SyntaxError: invalid syntax"),
        ("    pass", "loader.py: load_data() returns NoneType; yield feed dicts, or return a list"),
        ("    return []", "loader.py: load_data() yields nothing; yield at least one feed dict"),
        (
            "    yield np.ones(3)",
            "loader.py: feed 0: load_data() yields ndarray, not a dict; yield {input name: array}",
        ),
        (
            "    yield {'img': np.ones(3)}",
            "feed 0: nothing for input 'image'; there is 'img'; the model's inputs are",
        ),
        (
            f"    i = 0; yield {FEED}; yield {{'image': np.ones(3)}}",
            "feed 1 has the keys ['image'], the first has",
        ),
        ("    yield {'image': np.ones(3), 'a': 1, 'b': 2}", "more than one key that is no input: ['a', 'b']"),
        (
            "    yield {'image': np.ones((3, 3, 8, 8)), 'y': np.ones(2)}",
            "loader.py: feed 0: arrays of different lengths: 'image' 3, 'y' 2",
        ),
        (
            "    for n in (4, 5): yield {'image': np.ones((1, 3, 8, 8)), 'y': np.ones((1, n))}",
            "loader.py: 'y' changes its shape between feeds: [4] and [5]; only axis 0, the batch, may differ",
        ),
        (
            "    yield {'image': np.ones((3, 3, 8, 9))}",
            "loader.py, sample 0: input 'image' expects [N, 3, 8, 8], found [N, 3, 8, 9]",
        ),
    ],
)
def test_what_is_wrong_in_a_script_is_one_clear_error(script, classifier, body, message):
    refused(script(body), classifier, message)


def test_a_script_without_load_data_is_refused_with_what_it_defines(tmp_path, classifier):
    path = tmp_path / "loader.py"
    path.write_text("def load(): pass\n")
    refused(
        path,
        classifier,
        f"{path}: no function 'load_data' in it; it defines load; define `def load_data(...)`",
    )


def test_a_script_that_never_ends_is_stopped(script, classifier, monkeypatch):
    monkeypatch.setattr(data_script, "_MAX_BYTES", 100_000)
    refused(script(f"    i = 0\n    while True: yield {FEED}"), classifier, "does it end? yield fewer samples")


def test_preprocess_does_not_apply(script, classifier):
    with pytest.raises(UsageError, match="--preprocess does not apply to a data script"):
        open_data(script("    return []"), classifier, Preprocess(scale=1.0))
