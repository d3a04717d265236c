import pytest
from oracle import analysed, sandwich

from toolchain.errors import UsageError
from toolchain.graph.analysis import Analysis
from toolchain.graph.plan import Plan, Removal, make_plan, parse_plan, removed_units


@pytest.fixture
def analysis() -> Analysis:
    return analysed(sandwich("z = Concat<axis=1>(a, c)", result_width=16))


def test_a_plan_survives_json(analysis: Analysis) -> None:
    plan = make_plan(analysis, "hash", {"c": [3, 1], "a": [0]})
    assert parse_plan(plan.model_dump_json()) == plan


def test_equal_plans_are_equal_bytes_in_whatever_order_they_were_made(analysis: Analysis) -> None:
    one = make_plan(analysis, "hash", {"c": [3, 1, 1], "a": (0,)})
    other = make_plan(analysis, "hash", {"a": [0], "c": [1, 3]})
    assert one.model_dump_json() == other.model_dump_json()
    assert one.removals == (Removal(group="a", positions=(0,)), Removal(group="c", positions=(1, 3)))


def test_groups_that_lose_nothing_are_not_in_the_plan(analysis: Analysis) -> None:
    assert make_plan(analysis, "hash", {"a": []}).removals == ()


def test_a_plan_knows_what_it_removes_and_the_widths_it_leaves(analysis: Analysis) -> None:
    plan = make_plan(analysis, "hash", {"c": [3, 1], "a": [0]})
    assert plan.removed_count == 3
    assert plan.widths(analysis) == {"a": 7, "c": 6, "y": 5}
    assert removed_units(analysis, plan).sum() == 3


@pytest.mark.parametrize(
    ("group", "positions", "message"),
    [
        ("b", (0,), "the plan names group 'b', which this model does not have"),
        (
            "y",
            (0,),
            "the plan removes from group 'y', which is frozen (graph output 'y': its size is part of the interface)",
        ),
        ("a", (8,), "the plan removes a unit beyond the 8 of group 'a'"),
        ("a", (-1,), "the plan removes a unit beyond the 8 of group 'a'"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(
    analysis: Analysis, group: str, positions: tuple[int, ...], message: str
) -> None:
    plan = Plan(model_sha256="hash", removals=(Removal(group=group, positions=positions),))
    with pytest.raises(UsageError) as caught:
        removed_units(analysis, plan)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("{", "the file"),
        ("{}", "model_sha256"),
        ('{"model_sha256": "x", "schema_version": 2}', "schema_version"),
        ('{"model_sha256": "x", "removals": [{"group": "a"}]}', "removals.0.positions"),
    ],
)
def test_text_that_is_no_plan_is_refused_with_the_place(text: str, place: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_plan(text)
    assert str(caught.value).startswith(f"this is not a plan: {place}: ")
    assert str(caught.value).endswith("; give a plan.json from a bundle")
