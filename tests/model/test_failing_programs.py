"""A program that NumPy runs and an engine does not: the error says what, where, and the remedy."""

import inspect
import math

import numpy as onp
import pytest
import scipy.special
import scipy.stats

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab.errors import EngineError

PLAIN_NUMPY = "`import vi_lab.numpy as np` in place of NumPy"


def numpy_function(m, a):
    m.factor("f", onp.exp(a[0]))


def numpy_of_all(m, a):
    m.factor("f", -onp.linalg.norm(a))


def special(m, a):
    m.factor("f", scipy.special.spence(a[0]))


def statistics(m, a):
    m.factor("f", scipy.stats.norm.logpdf(a, 0.0, 1.0))


def converted(m, a):
    m.factor("f", onp.asarray(a, float))


def in_place(m, a):
    m.factor("f", a)
    a[0] = 1.0


def item(m, a):
    m.factor("f", a[0].item())


def by_mask(m, a):
    m.factor("f", np.sum(a[a > 0.0]))


def no_derivative(m, a):
    m.factor("f", np.cbrt(a))


def no_such_method(m, a):
    m.factor("f", a.getfield("f8"))


def in_a_helper(m, a):
    numpy_function(m, a)


def density(engine, program):
    """log p~ at a point, as a fit asks for it: with its gradient."""

    def with_latent(m):
        program(m, m.sample("a", vl.Normal(0.0, 1.0), shape=3))

    structure = vl.Model(with_latent).structure

    def value_and_grad(structure, z):
        return engine.value_and_grad(lambda z: structure.log_density(z, {}))(z)

    return engine.compile(value_and_grad, static=(0,))(structure, onp.full(3, 0.3))


CASES = [
    (numpy_function, "jax", PLAIN_NUMPY),
    (numpy_of_all, "jax", PLAIN_NUMPY),
    (special, "autograd", "vi_lab.scipy .* in place of SciPy"),
    (special, "jax", "vi_lab.scipy .* in place of SciPy"),
    (statistics, "autograd", "log_prob of vi_lab's distributions in place of SciPy"),
    (statistics, "jax", "log_prob of vi_lab's distributions in place of SciPy"),
    (converted, "autograd", PLAIN_NUMPY),
    (converted, "jax", PLAIN_NUMPY),
    (in_place, "autograd", "assigns to entries .* np.stack"),
    (in_place, "jax", "assigns to entries .* np.stack"),
    (item, "autograd", r"leave out float\(\), int\(\) and .item\(\)"),
    (item, "jax", r"leave out float\(\), int\(\) and .item\(\)"),
    (by_mask, "jax", r"np.where\(condition, values, 0.0\)"),
    (no_derivative, "autograd", "no derivative of cbrt: .* engine='jax'"),
    (no_such_method, "autograd", r"uses .getfield of a latent"),
    (no_such_method, "jax", r"uses .getfield of a latent"),
]


@pytest.mark.parametrize(
    ("program", "name", "remedy"), CASES, ids=[f"{case[0].__name__}-{case[1]}" for case in CASES]
)
def test_what_where_and_what_instead(program, name, remedy):
    engine = running(name)
    with pytest.raises(EngineError, match=remedy) as caught:
        density(engine, program)
    assert isinstance(caught.value.__cause__, Exception)
    source, first = inspect.getsourcelines(program)
    where = f"at line {first + len(source) - 1} of test_failing_programs.py, `{source[-1].strip()}`"
    assert f"program with_latent: cannot be run by {name}, {where}" in str(caught.value)


def running(name):
    if name == "jax":
        pytest.importorskip("jax")
    return vl.engine.get(name)


def test_the_line_is_that_of_the_innermost_function_of_the_user(engine):
    if engine.name == "autograd":
        pytest.skip("which can follow NumPy's own functions")
    with pytest.raises(EngineError, match=r"onp\.exp\(a\[0\]\)"):
        density(engine, in_a_helper)


@pytest.mark.parametrize(
    ("function", "remedy"),
    [
        (lambda z: -(math.exp(z[0]) ** 2), "in place of math"),
        (lambda z: -scipy.special.spence(z[0] + 9.0), "in place of SciPy"),
        (lambda z: -(onp.array([z[0], 1.0], float)[0] ** 2), "vi_lab.numpy"),
    ],
)
def test_targets_too(engine, function, remedy):
    with pytest.raises(EngineError, match=f"^density <lambda>: cannot be run.*{remedy}"):
        vl.advi(vl.Target(function, 2), seed=1, engine=engine.name, progress=False)


def test_a_branch_in_a_target_is_refused_by_the_engine_that_compiles(engine):
    target = vl.Target(lambda z: -(z[0] ** 2) if z[0] > 0.0 else -(z[0] ** 4), 1)
    if engine.name == "autograd":
        assert target.log_density([2.0]) == -4.0
        return
    with pytest.raises(EngineError, match=r"branches on the value .* np.where"):
        target.log_density([2.0])


def test_the_first_look_says_the_line_too():
    def as_number(m):
        a = m.sample("a", vl.Normal(0.0, 1.0))
        m.factor("f", math.exp(a))

    def branch(m):
        a = m.sample("a", vl.Normal(0.0, 1.0))
        m.factor("f", a if a > 0.0 else -a)

    with pytest.raises(
        TypeError, match=r"at line \d+ of test_.*`m.factor\(\"f\", math.exp\(a\)\)`"
    ):
        vl.Model(as_number)
    with pytest.raises(TypeError, match=r"at line \d+ of test_.*`m.factor\(\"f\", a if a > 0.0"):
        vl.Model(branch)


class OwnError(ValueError):
    """What a program raises on purpose, but for a look."""


def test_what_is_unknown_is_quoted_and_other_kinds_pass(engine):
    def deliberate(m, a):
        if not isinstance(a, onp.ndarray):
            raise OwnError("no tracers\nplease")
        m.factor("f", a)

    def no_memory(m, a):
        m.factor("f", a)
        if not hasattr(a, "tofile"):
            raise MemoryError

    with pytest.raises(EngineError, match=r"\(OwnError: no tracers\): write it with") as caught:
        density(engine, deliberate)
    assert isinstance(caught.value.__cause__, OwnError)
    with pytest.raises(MemoryError):
        density(engine, no_memory)
