import re

import numpy as np
import pytest

from toolchain.data.metric import BatchResult
from toolchain.data.open_metric import open_metric
from toolchain.errors import DataError, UsageError


@pytest.fixture
def metric(tmp_path, classifier):
    def write(body):
        path = tmp_path / "metric.py"
        path.write_text(f"def share(outputs, labels):\n    {body}\n")
        return open_metric(f"{path}:share", classifier, None)

    return write


def score(metric, batches=2):
    result = BatchResult({"y": np.ones((3, 2))}, None, np.arange(3), 3)
    return metric.score([metric.observe(result) for _ in range(batches)])


def test_the_function_sees_all_batches_and_its_interval_is_not_known(metric):
    result = score(metric("return sum(len(o['y']) for o in outputs) + sum(l.sum() for l in labels)"))
    assert (result.name, result.value, result.samples) == ("share", 12.0, 6)
    assert (result.low, result.high, result.higher_is_better) == (None, None, True)


def test_outputs_are_copied_since_runners_reuse_their_buffers(metric):
    function = metric("return float(sum(o['y'].sum() for o in outputs))")
    buffer = np.ones((3, 2))
    kept = function.observe(BatchResult({"y": buffer}, None, None, 3))
    buffer[:] = 0
    assert function.score([kept]).value == 6.0


@pytest.mark.parametrize("body", ["return 'good'", "return float('nan')", "return None"])
def test_what_is_no_finite_number_is_refused(metric, body):
    with pytest.raises(DataError, match=re.escape("metric.py: share() returned ")):
        score(metric(body))


def test_a_function_that_raises_is_refused_with_file_and_line(metric):
    with pytest.raises(DataError, match=r"metric\.py:2: ZeroDivisionError: division by zero; mend the file"):
        score(metric("return 1 / 0"))


def test_a_missing_file_or_function_is_refused(tmp_path, classifier):
    path = tmp_path / "metric.py"
    with pytest.raises(UsageError, match=f"no file '{path}'; give FILE.py:function"):
        open_metric(f"{path}:share", classifier, None)
    path.write_text("def other(): pass\n")
    with pytest.raises(DataError, match="no function 'share' in it; it defines other"):
        open_metric(f"{path}:share", classifier, None)
