"""A `Target` takes a function of one vector, or of a batch, and knows which it has."""

import numpy as onp
import pytest

import vi_lab as vl
import vi_lab.numpy as np

LOC = onp.array([1.0, -2.0, 0.5])
PRECISION = onp.array([[2.0, 0.5, 0.0], [0.5, 1.5, 0.3], [0.0, 0.3, 1.0]])
COVARIANCE = onp.linalg.inv(PRECISION)


def by_vector(z):
    return -0.5 * np.sum((z - LOC) * np.dot(PRECISION, z - LOC))


def by_product(z):
    return -0.5 * ((z - LOC) @ PRECISION @ (z - LOC))


def by_entries(z):
    y = [z[i] - LOC[i] for i in range(3)]
    return -0.5 * sum(PRECISION[i, j] * y[i] * y[j] for i in range(3) for j in range(3))


def of_any(z):
    return -0.5 * np.sum((z - LOC) * np.dot(z - LOC, PRECISION), axis=-1)


def of_a_batch(z):
    return -0.5 * np.sum((z - LOC) * np.dot(z - LOC, PRECISION), axis=1)


def by_columns(z):
    y = [z[:, i] - LOC[i] for i in range(3)]
    return -0.5 * sum(PRECISION[i, j] * y[i] * y[j] for i in range(3) for j in range(3))


FORMS = {f.__name__: f for f in (by_vector, by_product, by_entries, of_any, of_a_batch, by_columns)}
each_form = pytest.mark.parametrize("form", FORMS)


@each_form
def test_points_and_batches_of_points_have_their_own_values(form, engine):
    target = vl.Target(FORMS[form], dim=3)
    z = onp.random.default_rng(1).normal(size=(5, 3))
    right = onp.array([by_product(row) for row in z])
    for found in (
        target.log_density(z),
        [target.log_density(row) for row in z],
        engine.compile(lambda z: target.structure.log_density_batch(z, {}))(z),
        [engine.compile(lambda z: target.structure.log_density(z, {}))(row) for row in z],
        [sum(target.terms(row).values()) for row in z],
    ):
        onp.testing.assert_allclose(found, right, rtol=1e-12)
    assert target.log_density(z.reshape(1, 5, 3)).shape == (1, 5)

    def log_density(z):
        return target.structure.log_density(z, {})

    gradient = engine.compile(lambda z: engine.value_and_grad(log_density)(z)[1])(z[0])
    onp.testing.assert_allclose(gradient, -PRECISION @ (z[0] - LOC), rtol=1e-12)


@each_form
def test_full_rank_finds_the_posterior_itself(form):
    pytest.importorskip("jax")
    target = vl.Target(FORMS[form], dim=3)
    fit = vl.advi(target, "full_rank", seed=1, engine="jax", progress=False)
    covariance = fit.family.covariance(fit.params)
    onp.testing.assert_allclose(fit.params["loc"], LOC, atol=0.02)
    onp.testing.assert_allclose(covariance, COVARIANCE, rtol=0.05, atol=0.02)
    # The ELBO of the posterior itself is the log of the mass: D/2 log 2 pi + log det / 2.
    mass = 1.5 * onp.log(2.0 * onp.pi) - 0.5 * onp.linalg.slogdet(PRECISION)[1]
    assert abs(fit.elbo(seed=2)[0] - mass) < 0.01


@each_form
def test_deterministic_fits_find_the_mean_field_optimum(form, engine):
    target = vl.Target(FORMS[form], dim=3)
    fit = vl.advi(target, method="deterministic", seed=1, progress=False)
    reference = vl.advi(vl.Target(of_any, 3), method="deterministic", seed=1, progress=False)
    for name, value in reference.params.items():
        onp.testing.assert_allclose(fit.params[name], value, rtol=1e-6, atol=1e-8)


def test_nuts_agrees():
    pytest.importorskip("jax")
    one, other = (
        vl.nuts(
            vl.Target(f, 3), chains=2, tune=300, draws=500, seed=1, engine="jax", progress=False
        )
        for f in (by_columns, of_any)
    )
    onp.testing.assert_allclose(one.z.mean(axis=(0, 1)), other.z.mean(axis=(0, 1)), atol=0.2)


ONE_DIMENSION = {
    "a number": lambda z: -0.5 * z[0] ** 2,
    "a vector of one": lambda z: -0.5 * z**2,
    "no axis": lambda z: -0.5 * np.sum(z**2),
    "the last axis": lambda z: -0.5 * np.sum(z**2, axis=-1),
    "the last entry": lambda z: -0.5 * z[..., 0] ** 2,
    "a product": lambda z: -0.5 * (z @ z),
    "a column": lambda z: -0.5 * z[:, 0] ** 2,
}


@pytest.mark.parametrize("form", ONE_DIMENSION)
def test_one_dimension(form, engine):
    target = vl.Target(ONE_DIMENSION[form], dim=1)
    z = onp.array([[0.5], [-2.0], [3.0]])
    onp.testing.assert_allclose(target.log_density(z), -0.5 * z[:, 0] ** 2, rtol=1e-14)
    of_one = engine.compile(lambda z: target.structure.log_density(z, {}))
    for run in (target.log_density, of_one):
        assert onp.shape(run(z[0])) == ()
    fit = vl.advi(target, seed=1, starts=1, draws=4, progress=False)
    onp.testing.assert_allclose(fit.unconstrained_std["z"], 1.0, rtol=1e-12)
    assert onp.isfinite(fit.elbo(200, seed=1)[0])


def test_a_sum_over_the_wrong_axis_is_a_function_of_one_vector():
    """Whatever D is: D points of R^D would give a vector of the right length."""
    for dim in (2, 3, 4, 5):
        target = vl.Target(lambda z: -0.5 * np.sum(z**2, axis=0), dim=dim)
        z = onp.random.default_rng(0).normal(size=(dim, dim))
        onp.testing.assert_allclose(target.log_density(z), -0.5 * (z**2).sum(axis=1))


def test_nothing_is_asked_of_a_density_that_is_nowhere_finite():
    assert onp.isnan(vl.Target(lambda z: np.nan * np.sum(z, axis=-1), 2).log_density(onp.ones(2)))
    only_right = vl.Target(lambda z: np.sum(np.log(z - 5.0)), 2)  # of one vector, right of 5
    onp.testing.assert_allclose(only_right.log_density(onp.full((3, 2), 6.0)), onp.zeros(3))


@pytest.mark.parametrize(
    ("density", "dim", "message"),
    [
        (lambda z: -0.5 * z**2, 3, r"density: .* vector: it gives the shape \(3,\)\."),
        (lambda z: None, 2, r"density: .* it must be a number, not None"),
        (lambda z: z @ PRECISION @ z, 2, r"density: .*compare dim with"),
        (lambda z: z[5], 2, r"density: .* out of bounds"),
        (
            lambda z: z[:, 0] - np.mean(z[:, 0]) + z[0, 1] ** 2,
            2,
            r"density: .*depends on the others",
        ),
    ],
)
def test_what_is_neither_is_refused(density, dim, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        vl.Target(density, dim)


def test_a_function_may_need_its_engine():
    """As one written with the engine's own operators does."""
    jnp = pytest.importorskip("jax.numpy")
    target = vl.Target(lambda z: -0.5 * jnp.sum(z**2), dim=2)
    fit = vl.advi(target, seed=1, engine="jax", progress=False)
    onp.testing.assert_allclose(fit.family.std(fit.params), 1.0, rtol=0.02)
