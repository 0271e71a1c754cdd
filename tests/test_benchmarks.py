"""The benchmarks' arithmetic, and that row a compares equal work. Nothing here is timed."""

import numpy as np
import pytest

import vi_lab as vl
from benchmarks.timing import Spread, Target, interleave, round_ratios


@pytest.mark.parametrize(
    ("values", "spread"),
    [
        ([3.0], Spread(3.0, 3.0, 3.0)),
        ([5.0, 1.0, 2.0], Spread(1.0, 2.0, 5.0)),
        ([8.0, 1.0, 4.0, 2.0], Spread(1.0, 3.0, 8.0)),
    ],
)
def test_spread_of_known_numbers(values, spread):
    assert Spread.of(values) == spread


def test_ratios_pair_the_measurements_of_a_round():
    # The machine is ten times slower in the second round: each ratio is still 2.
    assert round_ratios([20.0, 2.0, 8.0], [10.0, 1.0, 4.0]) == [2.0, 2.0, 2.0]
    with pytest.raises(ValueError, match="zip"):
        round_ratios([1.0, 2.0], [1.0])


def test_interleaving_alternates_and_keeps_every_measurement():
    clock = iter(range(100))
    reported = []
    values = interleave(
        {"a": lambda: next(clock), "b": lambda: next(clock)},
        3,
        lambda name, value: reported.append((name, value)),
    )
    assert reported == [("a", 0), ("b", 1), ("b", 2), ("a", 3), ("a", 4), ("b", 5)]
    assert values == {"a": [0, 3, 4], "b": [1, 2, 5]}


def test_no_runs_are_refused():
    with pytest.raises(ValueError, match="runs: must be at least 1, not 0"):
        interleave({"a": lambda: 1.0}, 0)


@pytest.mark.parametrize(
    ("target", "met", "missed", "text"),
    [
        (Target(0.6), 0.6, 0.59, ">= 0.6"),
        (Target(1_000.0), 1_001.0, 999.0, ">= 1,000"),
        (Target(2.0, at_most=True), 2.0, 2.01, "<= 2"),
    ],
)
def test_target(target, met, missed, text):
    assert target.is_met_by(met)
    assert not target.is_met_by(missed)
    assert str(target) == text


@pytest.mark.parametrize("steps", [400, 401])
def test_bare_scan_does_the_work_of_advi(steps):
    pytest.importorskip("jax")
    from benchmarks import bare

    model = vl.zoo.notebook_gaussian().model()
    options = {"steps": steps, "optimizer": bare.falling_adam(steps)}
    fit = vl.advi(model, seed=1, engine="jax", progress=False, **options)
    noise = np.random.default_rng(1).standard_normal((steps, model.dim))
    params, losses = bare.prepare(noise, model.data["x"])()
    np.testing.assert_allclose(np.asarray(losses), fit.losses, rtol=0, atol=1e-8)
    np.testing.assert_allclose(np.asarray(params[0]), fit.params["loc"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(np.asarray(params[1]), fit.params["log_scale"], rtol=0, atol=1e-8)


def lines(*lines):
    """Records of `benchmarks.hard`, which have a tolerance of 1 and no error of comparison."""
    from benchmarks.hard import Judged

    first = {"case": "c", "family": "mean_field", "method": "stochastic", "engine": "jax"}
    records = [{"proper": True, "tolerance": 1.0, "gradients": 100, **line} for line in lines]
    return [Judged(**first, seed=seed, **line) for seed, line in enumerate(records)]


def test_what_the_hard_table_counts():
    from benchmarks.hard import closing

    said = {"converged": True, "stated": 0.5}
    found = lines(
        {**said, "gap": 1.4},
        {**said, "gap": 1.6, "own_gap": 1.6},  # false
        {**said, "gap": 1.6, "error": 0.2},  # perhaps not
        {**said, "gap": 5.0, "own_gap": 0.1, "modes": (5.0,), "gradients": 300},  # another mode
        {**said, "proper": False},  # false
        {"converged": False, "why": "no optimum", "proper": False},
        {"converged": False, "why": "draws", "gap": 0.9},  # good, and says otherwise
    )
    assert closing(found).split("\n") == [
        "7 fits of 1 cases: 5 converged, 0 raised an error.",
        (
            '1 said "Converged" and were beyond 3 times their stated gap, '
            "1 of them beyond the tolerance too."
        ),
        '1 of 2 without an optimum said "Converged"; 1 said why.',
        "1 of 1 good stochastic fits said otherwise (100.0%).",
        "0 of 0 good deterministic fits said otherwise (0.0%).",
        (
            "1 of 5 ended in a mode worse by more than 1 nat (20.0%); "
            "1 of them said that starts disagreed."
        ),
        "1 of 1 rows have a fit that took more than 2 times the median gradients.",
    ]


def test_a_hard_case_is_fitted_and_judged():
    pytest.importorskip("jax")
    from argparse import Namespace

    from benchmarks.hard import cells, judged, rows
    from benchmarks.hard_cases import cases

    proper, improper = cases()["three_modes"], cases()["linear"]
    found = judged(proper, "mean_field", Namespace(seeds=1, engine="jax"))
    assert [r.method for r in found] == ["stochastic", "deterministic"]
    assert all(0.0 <= r.gap < np.inf for r in found)
    assert [cells(row)[0] for row in rows(found)] == ["three_modes"] * 2
    (found,) = judged(improper, "full_rank", Namespace(seeds=1, engine="jax"))
    assert not found.converged
    assert np.isnan(found.gap)


def test_every_hard_case_has_its_name():
    from benchmarks.hard_cases import cases, synthetic

    assert len({case.name for case in synthetic()}) == len(synthetic()) >= 40
    assert len(cases()) > len(synthetic())
