"""Checks of arguments: what passes, what is refused, and what the error says."""

import os

import numpy as np
import pytest

import vi_lab as vl
from vi_lab import checks

WHOLE = [0, 3, np.int64(3), np.uint8(3)]
REAL = [0.5, np.float32(0.5), np.float64(0.5)]
NO_NUMBER = [True, "a", None, [1], 1j, np.bool_(True)]
NAN, INF = float("nan"), float("inf")


def refused(check, *arguments):
    with pytest.raises(vl.ViLabError) as caught:
        check("x", *arguments)
    message = str(caught.value)
    assert message.startswith("x: ")
    return message


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (checks.check_positive, [1, *REAL], [0, -1.0, NAN, INF]),
        (checks.check_not_negative, [0, 1, *REAL], [-1e-9, NAN, INF]),
        (checks.check_decay, [0, *REAL], [1, -0.1, NAN]),
        (checks.check_probability, REAL, [0, 1, 0.0, 1.0, NAN]),
        (lambda name, x: checks.check_whole(name, x, 0), WHOLE, [-1, 0.5, 1.0, NAN]),
        (checks.check_seed, [*WHOLE, 2**63 - 1], [-1, 1.5, 2.0, 2**63, np.random.default_rng(1)]),
    ],
)
def test_numbers(check, good, bad):
    for value in good:
        check("x", value)
    for value in [*bad, *NO_NUMBER]:
        assert f"not {value!r}" in refused(check, value)


def test_one_finite_number():
    for value in (0, -1, *REAL):
        checks.check_finite("x", value)
    assert refused(checks.check_finite, INF) == "x: must be finite, not inf"
    assert refused(checks.check_finite, [1.0, 2.0]) == "x: must be one number, not [1.0, 2.0]"
    assert refused(checks.check_finite, "a").startswith("x: must be a number, not 'a'")


def test_a_seed_is_asked_for_by_example():
    assert refused(checks.check_seed, None).endswith("give one, such as x=1")


def test_the_nearest_name_is_suggested():
    known = ["mean_field", "full_rank"]
    checks.check_name("x", "full_rank", known)
    assert refused(checks.check_name, "fullrank", known).endswith("did you mean 'full_rank'?")
    assert refused(checks.check_name, "flow", known).endswith("choose one of these")
    assert refused(checks.check_name, 3, known).startswith("x: 3 is none of ['mean_field', 'full_")


def test_an_instance_is_not_its_class():
    checks.check_instance("x", vl.Normal(0.0, 1.0), vl.Normal, "a Normal(0, 1)")
    message = refused(checks.check_instance, vl.Normal, vl.Normal, "a Normal(0, 1)")
    assert message == "x: is the class Normal itself; give a Normal(0, 1)"
    message = refused(checks.check_instance, [1], vl.Normal, "a Normal(0, 1)")
    assert message == "x: is a list; give a Normal(0, 1)"


def test_functions():
    checks.check_callable("x", None, "of z")
    checks.check_callable("x", len, "of z")
    assert refused(checks.check_callable, 3, "of z") == "x: is the int 3; give a function of z"
    for function in (len, print, lambda z: z, lambda *all: all, lambda z, w=1: z):
        checks.check_function("x", function, "of z", 1)
    for function in (lambda: 1, lambda z, w: z, lambda *, z: z):
        message = refused(checks.check_function, function, "of z", 1)
        assert message.startswith("x: cannot be called with 1 arguments (")
        assert message.endswith("; give a function of z")


def test_a_file_that_can_be_written(tmp_path, monkeypatch):
    checks.check_writable("x", tmp_path / "fit.npz")
    checks.check_writable("x", str(tmp_path / "fit.npz"))
    (tmp_path / "fit.npz").touch()
    checks.check_writable("x", tmp_path / "fit.npz")
    assert "is a folder" in refused(checks.check_writable, tmp_path)
    assert "there is no folder" in refused(checks.check_writable, tmp_path / "a" / "fit.npz")
    assert "give the path of a file" in refused(checks.check_writable, 3)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "may not be written to" in refused(checks.check_writable, tmp_path / "new.npz")


def test_a_file_that_can_be_read(tmp_path, monkeypatch):
    path = tmp_path / "fit.npz"
    with pytest.raises(FileNotFoundError, match=r"^x: there is no file"):
        checks.check_readable("x", path)
    path.touch()
    checks.check_readable("x", str(path))
    assert "is a folder" in refused(checks.check_readable, tmp_path)
    assert "give the path of a file" in refused(checks.check_readable, None)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "may not be read" in refused(checks.check_readable, path)


def test_kinds_and_values_are_told_apart():
    with pytest.raises(TypeError):
        checks.check_whole("x", "3", 1)
    with pytest.raises(ValueError, match="must be a whole number"):
        checks.check_whole("x", 3.0, 1)
    with pytest.raises(ValueError, match=r"^x: must be less than 2\^63, not about 10\^30$"):
        checks.check_whole("x", 10**30, 1)
    with pytest.raises(ValueError, match=r"^x: must be a positive number, not about 10\^400$"):
        checks.check_positive("x", 10**400)  # an integer that is no float


def test_numbers_that_no_memory_holds(monkeypatch):
    monkeypatch.setattr(checks, "_memory", lambda: 8_000)
    checks.check_held("x", 100, 10)
    message = refused(checks.check_held, 101, 10)
    assert message.startswith("x: 101 of 10 numbers each take")
    monkeypatch.undo()
    monkeypatch.delattr(os, "sysconf")
    assert checks._memory() == 2**40


def test_names_and_labels():
    assert checks.check_names("x", "mu") == ["mu"]
    assert checks.check_names("x", ("mu", "sd")) == ["mu", "sd"]
    assert "is empty" in refused(checks.check_names, [])
    assert "must be a name or a list of names" in refused(checks.check_names, 3)
    checks.check_label("x", "mu")
    assert "is empty" in refused(checks.check_label, "")


def test_long_values_are_cut_short():
    assert checks.shown(list(range(1_000))) == repr(list(range(1_000)))[:100] + "..."


MODEL = vl.Model(lambda m, x: m.observe("x", vl.Normal(m.sample("a", vl.Flat()), 1.0), x), x=[1.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: vl.posterior_predictive(vl.Model, {}, seed=1), "model: is .* give a vi_lab.Model"),
        (
            lambda: vl.posterior_predictive(MODEL, object(), seed=1),
            "draws: is a object",
        ),
        (lambda: vl.posterior_predictive(MODEL, {"a": [1.0]}, seed="a"), "seed: must be a whole"),
        (lambda: vl.prior_predictive("m", seed=1), "model: is .* give a vi_lab.Model"),
        (lambda: vl.prior_predictive(MODEL, seed=-1), "seed: must be a whole number from 0"),
        (lambda: vl.prior_predictive(MODEL, 2.0, seed=1), "num_draws: must be a whole number, 1"),
        (lambda: vl.Target(len, True), "dim: must be a whole number, 1 or more"),
        (lambda: vl.conjugate.NormalModel(mean="a"), "mean: must be a number, not 'a'"),
        (lambda: vl.conjugate.NormalModel(rate=True), "rate: must be a positive number, not True"),
        (lambda: vl.datasets.radon("mars"), "where: 'mars' is none of"),
        (lambda: vl.datasets.radon("USA"), "where: 'USA' is none of"),
        (lambda: vl.use("autograt"), "engine: 'autograt' is none of"),
        (lambda: vl.zoo.correlated_gaussian("a"), "rho: must be a number, not 'a'"),
    ],
)
def test_front_doors_name_the_argument(call, message):
    with pytest.raises(vl.ViLabError, match=message):
        call()
