import numpy as np
import pytest

from toolchain.data.fidelity import ClassFidelity, TensorFidelity
from toolchain.data.open_metric import open_metric
from toolchain.data.top_k import TopK
from toolchain.errors import DataError, UsageError


def test_auto_is_top1_with_integer_labels_and_class_scores(classifier):
    assert open_metric("auto", classifier, np.array([0, 3])) == TopK(1, "logits")
    assert open_metric("auto", classifier, np.array([[0], [3]])) == TopK(1, "logits")


def test_auto_is_fidelity_otherwise(classifier, make_interface):
    assert open_metric("auto", classifier, None) == ClassFidelity("logits")
    assert open_metric("auto", classifier, np.ones((2, 5))) == ClassFidelity("logits")
    detector = make_interface("float[N,3,8,8] x", "float[N,9,85] boxes")
    assert open_metric("auto", detector, np.array([0, 3])) == TensorFidelity(("boxes",))


def test_auto_does_not_hide_labels_out_of_range(classifier):
    with pytest.raises(DataError, match="label 9 of sample 1"):
        open_metric("auto", classifier, np.array([0, 9]))


def test_an_unknown_name_is_refused_with_the_names(classifier):
    message = "--metric: unknown name 'top3'; names are auto, top1, top5, fidelity, FILE.py:function"
    with pytest.raises(UsageError, match=message):
        open_metric("top3", classifier, None)
