"""Chains side by side: the same bits in any company, one compilation, progress, Ctrl-C."""

import threading
import warnings

import numpy as onp
import pytest
from nuts_case import CORRELATED, MODEL, SHORT, correlated, quiet_nuts, warnings_of

import vi_lab as vl
from vi_lab.errors import ConvergenceWarning
from vi_lab.nuts import chains, iterative, sampler, side_by_side, walk

pytestmark = pytest.mark.bits


def test_draws_do_not_depend_on_pace(monkeypatch, engine):
    usual = quiet_nuts(CORRELATED, **SHORT)
    monkeypatch.setattr(walk, "SECONDS_PER_BLOCK", 1e-9)  # blocks of one transition
    slow = quiet_nuts(CORRELATED, **SHORT)
    onp.testing.assert_array_equal(usual.z, slow.z)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_draws_depend_neither_on_the_other_chains_nor_on_threads(workers, monkeypatch, engine):
    """Bits, of draws and of what was adapted; one chain alone runs on no thread of its own."""
    alone = quiet_nuts(MODEL, **{**SHORT, "chains": 1})
    monkeypatch.setattr(side_by_side, "_cores", lambda: workers)
    both, five = (quiet_nuts(MODEL, **{**SHORT, "chains": c}) for c in (2, 5))
    for name in ("z", "energy", "n_leapfrog", "step_size", "inverse_mass_matrix"):
        few, some, many = (getattr(result, name) for result in (alone, both, five))
        onp.testing.assert_array_equal(few, many[:1])
        onp.testing.assert_array_equal(some, many[:2])


def test_no_number_of_chains_compiles_anything_anew(monkeypatch):
    pytest.importorskip("jax")
    traced = []
    real = iterative.transition
    monkeypatch.setattr(chains, "transition", lambda *a: traced.append(1) or real(*a))
    target = vl.Target(lambda z: correlated(z), 2)  # nothing of it is compiled yet
    quiet_nuts(target, engine="jax", **{**SHORT, "chains": 4})
    assert len(traced) == 1  # by whichever thread came first
    quiet_nuts(target, engine="jax", **{**SHORT, "chains": 1})
    quiet_nuts(target, engine="jax", **{**SHORT, "chains": 3})
    assert len(traced) == 1


@pytest.mark.parametrize("cores", [1, 3])
def test_an_error_of_one_chain_ends_all(cores, monkeypatch, engine):
    """The second chain's walk fails; the others stop where they are."""
    monkeypatch.setattr(side_by_side, "_cores", lambda: cores)
    asked = []

    def steps(c):
        for n in range(1_000):
            asked.append(n)
            if c == 1 and n == 2:
                raise ValueError("no further")
            yield n

    with pytest.raises(ValueError, match="no further"):
        list(side_by_side.side_by_side(engine, [steps(c) for c in range(3)]))
    assert max(asked) < 900


# ------------------------------------------------- progress and interruption


class InterruptingBar:
    """A progress bar at which the user presses Ctrl-C after ``limit`` transitions."""

    def __init__(self, limit, total):
        self.limit, self.total, self.n = limit, total, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def set_description(self, text):
        pass

    def set_postfix(self, *_, **__):
        pass

    def update(self, n):
        self.n += n
        if self.n >= self.limit:
            raise KeyboardInterrupt


def interrupt_after(limit, monkeypatch):
    monkeypatch.setattr(sampler, "progress_bar", lambda *_, total: InterruptingBar(limit, total))
    monkeypatch.setattr(walk, "SECONDS_PER_BLOCK", 1e-9)


def test_ctrl_c_keeps_the_draws_that_every_chain_has(monkeypatch):
    whole = quiet_nuts(CORRELATED, engine="autograd", **SHORT)
    interrupt_after(2 * (30 + 8) + 1, monkeypatch)  # one chain is a draw ahead
    result, messages = warnings_of(CORRELATED, **SHORT)
    assert "kept the first 8 of 20 draws a chain" in messages[0]
    assert result.interrupted
    assert not whole.interrupted
    onp.testing.assert_array_equal(result.z, whole.z[:, :8])


def test_ctrl_c_stops_the_threads(monkeypatch):
    """Whatever the threads had got to, what is kept is the beginning of every chain."""
    pytest.importorskip("jax")
    monkeypatch.setattr(side_by_side, "_cores", lambda: 3)
    options = {"chains": 3, "tune": 30, "draws": 200, "seed": 6, "engine": "jax"}
    whole = quiet_nuts(CORRELATED, **options)
    before = threading.active_count()
    interrupt_after(3 * (30 + 20), monkeypatch)
    result = quiet_nuts(CORRELATED, **options)
    assert threading.active_count() == before
    kept = result.z.shape[1]
    assert result.interrupted
    assert 0 < kept < 200
    assert result.energy.shape == (3, kept)
    onp.testing.assert_array_equal(result.z, whole.z[:, :kept])
    onp.testing.assert_array_equal(result.step_size, whole.step_size)


@pytest.mark.parametrize("limit", [20, 2 * 30 + 1])
def test_ctrl_c_before_every_chain_has_a_draw_says_so(limit, monkeypatch):
    interrupt_after(limit, monkeypatch)
    with pytest.raises(KeyboardInterrupt, match=f"after {limit} of 100 transitions of all chains"):
        vl.nuts(CORRELATED, engine="autograd", **SHORT)


def test_the_bar_is_on_stderr_and_can_be_silenced(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        vl.nuts(CORRELATED, engine="autograd", **SHORT)
    shown = capsys.readouterr()
    assert not shown.out
    for part in ("NUTS", "100/100", "divergences=0", "step_size="):
        assert part in shown.err
    quiet_nuts(CORRELATED, engine="autograd", **SHORT)
    assert capsys.readouterr() == ("", "")
