"""The table of a result."""

import numpy as onp
import pytest

from vi_lab.results import diagnostics
from vi_lab.results.summary import Summary, summarise

RNG = onp.random.default_rng(5)
IID = {"mu": RNG.normal(2.0, 3.0, 4_000), "L": RNG.standard_normal((4_000, 2, 2))}
CHAINS = {name: v.reshape(4, 1_000, *v.shape[1:]) for name, v in IID.items()}


def test_rows_and_columns_of_independent_draws():
    table = summarise(IID)
    assert table.names == ("mu", "L[0, 0]", "L[0, 1]", "L[1, 0]", "L[1, 1]")
    assert list(table.columns) == ["mean", "sd", "mcse", "hdi 2.5%", "hdi 97.5%"]
    x = IID["L"][:, 1, 0]
    assert table["L[1, 0]", "mean"] == pytest.approx(x.mean())
    assert table["L[1, 0]", "sd"] == pytest.approx(x.std(ddof=1))
    assert table["L[1, 0]", "mcse"] == pytest.approx(x.std(ddof=1) / 4_000**0.5)
    assert (table["L[1, 0]", "hdi 2.5%"], table["L[1, 0]", "hdi 97.5%"]) == tuple(
        diagnostics.hdi(x)
    )


def test_chains_add_their_diagnostics():
    table = summarise(CHAINS, chains=True, prob=0.8)
    assert list(table.columns)[3:] == ["hdi 10%", "hdi 90%", "ess_bulk", "ess_tail", "r_hat"]
    x = CHAINS["L"][:, :, 0, 1]
    for column, function in {
        "mcse": diagnostics.mcse,
        "ess_bulk": diagnostics.ess_bulk,
        "ess_tail": diagnostics.ess_tail,
        "r_hat": diagnostics.rhat,
    }.items():
        assert table["L[0, 1]", column] == pytest.approx(float(function(x)))
    assert table["mu", "mean"] == pytest.approx(IID["mu"].mean())
    assert table["mu", "hdi 10%"] == diagnostics.hdi(IID["mu"], 0.8)[0]


def test_select_takes_rows_by_name_in_the_order_asked_for():
    table = summarise(IID, notes=("kept",))
    some = table.select("L[1, 0]", "mu")
    assert some.names == ("L[1, 0]", "mu")
    assert some["mu", "sd"] == table["mu", "sd"]
    assert some.notes == ("kept",)
    assert table.select("L").names == ("L[0, 0]", "L[0, 1]", "L[1, 0]", "L[1, 1]")
    with pytest.raises(ValueError, match=r"names: there is no 'm'; choose among mu, L\[0, 0\]"):
        table.select("m")


TABLE = Summary(
    ("mu", "a<b"),
    {
        "mean": onp.array([0.1234567, -1234.4]),
        "ess_bulk": onp.array([1234.6, onp.nan]),
        "r_hat": onp.array([1.00049, 1.2]),
    },
    ("two chains",),
)


def test_it_prints():
    assert str(TABLE) == repr(TABLE)
    assert str(TABLE).splitlines() == [
        "       mean  ess_bulk  r_hat",
        "mu   0.1235      1235  1.000",
        "a<b   -1234       nan  1.200",
        "two chains",
    ]


def test_html_is_escaped_and_whole():
    html = TABLE._repr_html_()
    assert "<th>a&lt;b</th><td>-1234</td><td>nan</td><td>1.200</td>" in html
    assert "<th>mean</th>" in html
    assert "<p>two chains</p>" in html


def test_access_by_row_and_column():
    assert TABLE["mu", "r_hat"] == 1.00049
    assert TABLE["r_hat"][1] == 1.2
    assert TABLE.to_dict()["mu"]["mean"] == 0.1234567
    with pytest.raises(KeyError, match=r"'nu' is no row; rows are mu, a<b"):
        TABLE["nu", "mean"]
    with pytest.raises(ValueError, match="prob: must be between"):
        summarise(IID, prob=95)


def test_a_number_that_is_not_finite_loses_its_own_row_alone():
    draws = {"a": onp.arange(10.0), "b": onp.array([[1.0, onp.inf]] * 3 + [[1.0, 2.0]] * 7)}
    table = summarise(draws, notes=("kept",))
    assert table["a", "mean"] == 4.5
    assert table["b[0]", "mean"] == 1.0
    assert all(onp.isnan(table["b[1]", column]) for column in table.columns)
    assert table.notes == ("kept", "b[1]: 3 of 10 draws are not finite: no summary.")


def test_one_draw_has_a_mean_and_no_error():
    table = summarise({"a": [3.0]})
    assert table["a", "mean"] == 3.0
    assert onp.isnan(table["a", "sd"])


@pytest.mark.parametrize(
    ("draws", "error", "message"),
    [
        ({}, ValueError, r"draws: draws by name must all be \(S, \*shape\), at least one"),
        ({"a": []}, ValueError, "at least one, but begin with"),
        ({"a": [1.0, 2.0], "b": [1.0]}, ValueError, "but begin with"),
        ([1.0, 2.0], TypeError, "draws: is a list; give draws by name"),
    ],
)
def test_what_are_no_draws_is_refused(draws, error, message):
    with pytest.raises(error, match=message):
        summarise(draws)
