from oracle import assert_pruned_equals_masked, sandwich, widths


def test_a_shape_follows_the_pruned_tensor() -> None:
    body = "s = Shape(a) r = Relu(a) z = Reshape(r, s)"
    assert_pruned_equals_masked(sandwich(body))


def test_a_window_of_a_shape_is_a_size_like_any_other() -> None:
    body = """n = Shape<end=1>(a) k = Shape<start=1, end=2>(a) hw = Shape<start=-2>(a) s = Concat<axis=0>(n, k, hw)
              r = Relu(a) z = Reshape(r, s)"""
    assert_pruned_equals_masked(sandwich(body))


def test_zeros_that_are_made_to_a_computed_size_stay_what_they_are() -> None:
    body = "s = Shape(c) o = ConstantOfShape(s) z = Concat<axis=1>(a, c, o)"
    model = sandwich(body, result_width=24)
    assert "a" in widths(model)
    assert_pruned_equals_masked(model)


def test_a_constant_that_was_left_in_place_is_read() -> None:
    body = "k = Constant<value_ints=[0, 8, 8, 8]>() z = Reshape(a, k)"
    assert_pruned_equals_masked(sandwich(body))
