import pytest

from toolchain.latency.correction import NARROWED, Observation, fit

ORIGINAL = {"wide": 6.0, "narrow": 3.0, "rest Add": 1.0}


def ratio(factors, stages_ms):
    now = sum(factors[stage] * ms for stage, ms in stages_ms.items())
    return now / sum(factors[stage] * ms for stage, ms in ORIGINAL.items())


def test_without_measurements_nothing_is_corrected():
    assert fit(ORIGINAL, []) == pytest.approx(dict.fromkeys(ORIGINAL, 1.0) | {NARROWED: 0.0})


def test_a_measured_engine_is_predicted_better_than_before():
    engine = {"wide": 2.0, "narrow": 3.0, "rest Add": 1.0}
    after = fit(ORIGINAL, [Observation(engine, 0.7)])
    assert abs(ratio(after, engine) - 0.7) < 0.03 < abs(ratio(dict.fromkeys(ORIGINAL, 1.0), engine) - 0.7)


def test_factors_are_found_again_from_enough_engines():
    truth = {"wide": 1.1, "narrow": 0.9, "rest Add": 1.2}
    engines = [
        {"wide": 6.0 * a, "narrow": 3.0 * b, "rest Add": c}
        for a, b, c in [(0.5, 1, 1), (1, 0.5, 1), (1, 1, 0.2), (0.3, 0.6, 0.5), (0.7, 0.2, 0.9)]
    ]
    seen = [Observation(engine, ratio(truth, engine)) for engine in engines]
    found = fit(ORIGINAL, seen * 80)
    for engine in engines:
        assert ratio(found, engine) == pytest.approx(ratio(truth, engine), rel=2e-3)


def test_a_stage_that_was_never_narrowed_keeps_its_prediction_but_for_the_common_factor():
    factors = fit(ORIGINAL, [Observation({"wide": 3.0, "narrow": 3.0, "rest Add": 1.0}, 0.68)])
    assert factors["wide"] > 1 > factors["narrow"] > 0.85


def test_a_factor_is_never_negative():
    factors = fit({"a": 1.0, "rest": 9.0}, [Observation({"a": 0.0, "rest": 9.0}, 1.5)] * 50)
    assert min(factors.values()) >= 0


def test_narrowed_blocks_that_are_all_faster_than_predicted_say_nothing_of_removed_ones():
    narrowed = {"wide": 3.0, "narrow": 1.5, "rest Add": 1.0, NARROWED: 4.5}
    removed = {"wide": 3.0, "narrow": 3.0, "rest Add": 1.0}
    seen = [Observation(narrowed, 0.50), Observation(removed, 0.70)] * 20
    factors = fit(ORIGINAL, seen)
    assert factors[NARROWED] < -0.05
    assert ratio(factors, narrowed) == pytest.approx(0.50, abs=0.005)
    assert ratio(factors, removed) == pytest.approx(0.70, abs=0.005)


def test_what_narrowed_blocks_have_is_the_same_whether_or_not_the_original_names_them():
    seen = [Observation({"wide": 3.0, "narrow": 1.5, "rest Add": 1.0, NARROWED: 4.5}, 0.50)]
    assert fit({**ORIGINAL, NARROWED: 0.0}, seen) == pytest.approx(fit(ORIGINAL, seen))
