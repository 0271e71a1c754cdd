"""`scan`: the same on NumPy and on both engines, with derivatives, and compiled once for all T."""

import numpy as onp
import pytest

import vi_lab as vl
import vi_lab.numpy as np

Y = onp.random.default_rng(0).normal(size=12)


def moving_average(m, y):
    mu = m.sample("mu", vl.Normal(0.0, 5.0))
    theta = m.sample("theta", vl.Normal(0.0, 2.0))
    sigma = m.sample("sigma", vl.HalfCauchy(2.5))

    def shock(before, y):
        now = y - mu - theta * before
        return now, now

    last, shocks = vl.scan(shock, 0.0, y)
    m.deterministic("last", last)
    m.factor("y", vl.Normal(0.0, sigma).log_prob(shocks))


def unrolled(m, y):
    mu = m.sample("mu", vl.Normal(0.0, 5.0))
    theta = m.sample("theta", vl.Normal(0.0, 2.0))
    sigma = m.sample("sigma", vl.HalfCauchy(2.5))
    shocks = [y[0] - mu]
    for t in range(1, len(y)):
        shocks.append(y[t] - mu - theta * shocks[-1])
    m.factor("y", vl.Normal(0.0, sigma).log_prob(np.stack(shocks)))


def value_gradient_and_curvature(engine, model, z):
    def value_and_grad(structure, z, data):
        return engine.value_and_grad(lambda z: structure.log_density(z, data))(z)

    def density(z, data):
        return model.structure.log_density(z, data)

    found = engine.compile(value_and_grad, static=(0,))(model.structure, z, model.data)
    product = engine.hessian_vector_product(density)(z, model.data)
    return *found, product(onp.array([1.0, -0.5, 0.3]))


def test_a_recursion_is_its_loop_with_two_derivatives(engine):
    z = onp.array([0.2, 0.4, -0.3])
    found = value_gradient_and_curvature(engine, vl.Model(moving_average, y=Y), z)
    expected = value_gradient_and_curvature(engine, vl.Model(unrolled, y=Y), z)
    for one, other in zip(found, expected, strict=True):
        onp.testing.assert_allclose(one, other, rtol=1e-11)


def test_several_draws_and_what_is_recorded(engine):
    model = vl.Model(moving_average, y=Y)
    z = onp.random.default_rng(1).normal(size=(3, 3))
    onp.testing.assert_allclose(
        model.log_density(z), vl.Model(unrolled, y=Y).log_density(z), rtol=1e-12
    )
    mu, theta = (model.constrain(z)[name] for name in ("mu", "theta"))
    last = onp.zeros(3)
    for y in Y:
        last = y - mu - theta * last
    onp.testing.assert_allclose(model.constrain(z)["last"], last, rtol=1e-12)


def counted(state, row):
    """Trees in and out: a running sum of two arrays, and how many there were."""
    total = state["total"] + row[0] * row[1]
    return {"total": total, "count": state["count"] + 1}, (total, row[0])


def test_trees_of_states_and_inputs(engine):
    a, b = onp.arange(6.0).reshape(3, 2), onp.array([1.0, -1.0, 2.0])
    state = {"total": onp.zeros(2), "count": 0}
    plain = vl.scan(counted, state, (a, b))
    inside = engine.compile(lambda a, b: vl.scan(counted, state, (a, b)))(a, b)
    for last, (totals, firsts) in (plain, inside):
        onp.testing.assert_array_equal(totals, onp.cumsum(a * b[:, None], axis=0))
        onp.testing.assert_array_equal(firsts, a)
        onp.testing.assert_array_equal(last["total"], totals[-1])
        assert last["count"] == 3


def test_a_long_recursion_compiles_as_one_of_few_steps():
    jax = pytest.importorskip("jax")
    from vi_lab import engine as engines

    def operations(length):
        def run(theta, y):
            with engines.running(engines.get("jax")):
                return vl.scan(lambda e, y: (y - theta * e,) * 2, 0.0, y)[1].sum()

        return len(jax.make_jaxpr(jax.grad(run))(0.3, onp.ones(length)).pretty_print().splitlines())

    assert operations(5) == operations(500)


@pytest.mark.parametrize(
    ("step", "state", "message"),
    [
        (lambda s, x: (s + x, x), 0, "int64, now float64.* 0.0 rather than 0"),
        (lambda s, x: (s + onp.ones(2), x), 0.0, r"shape \(\), now \(2,\)"),
        (lambda s, x: ({"b": x}, x), {"a": 0.0}, "keys"),
        (lambda s, x: ((x,), x), (0.0, 0.0), "shorter"),
    ],
)
def test_a_state_that_changes_its_kind_is_refused_at_the_first_look(step, state, message):
    with pytest.raises(ValueError, match=message):
        vl.Model(lambda m, y: (m.sample("a", vl.Flat()), vl.scan(step, state, y)), y=Y)
