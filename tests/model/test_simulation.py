"""Simulation broadcasts as the log density does: what fits can be simulated."""

import numpy as onp
import pytest

import vi_lab as vl
from vi_lab.distributions import (
    Bernoulli,
    Dirichlet,
    Gamma,
    MultivariateNormal,
    Normal,
    Truncated,
)
from vi_lab.model.handlers import draw_of_shape

ROWS = [  # shape of the latent, of the data
    ((), (5,)),
    ((1,), (5,)),
    ((3, 1), (3, 5)),
    ((1, 5), (3, 5)),
    ((1, 1), (3, 5)),
    ((5,), (3, 5)),
    ((1, 3, 1), (4, 3, 2)),
    ((3, 5), (3, 5)),
]


@pytest.mark.parametrize(("shape", "data"), ROWS)
def test_predictions_broadcast_as_the_log_density_does(shape, data):
    """Each entry about its own mean, and independent of the others that share it."""

    def program(m, y):
        a = m.sample("a", Normal(0.0, 1.0), shape=shape)
        m.observe("y", Normal(a, 0.1), y)

    model = vl.Model(program, y=onp.zeros(data))
    assert onp.isfinite(model.log_density(onp.zeros(model.dim)))
    means = 10.0 * onp.arange(onp.prod(shape, dtype=int)).reshape(shape)
    draws = {"a": onp.broadcast_to(means, (400, *shape))}
    y = vl.posterior_predictive(model, draws, seed=1)["y"]
    assert y.shape == (400, *data)
    residual = (y - means) / 0.1
    n = residual.size
    assert abs(residual.mean()) < 4.0 / n**0.5
    assert abs(residual.var() - 1.0) < 4.0 * (2.0 / n) ** 0.5
    flat = residual.reshape(400, -1)
    products = onp.corrcoef(flat.T)[onp.triu_indices(flat.shape[1], 1)]
    assert abs(products).max() < 4.8 / 400**0.5  # 435 of them at most
    assert vl.prior_predictive(model, 3, seed=0)["y"].shape == (3, *data)


def test_chains_of_draws_broadcast_too():
    def program(m, y):
        a = m.sample("a", Normal(0.0, 1.0), shape=(1,))
        m.observe("y", Normal(a, 0.1), y)

    model = vl.Model(program, y=onp.ones(5))
    draws = {"a": onp.zeros((2, 7, 1))}
    assert vl.posterior_predictive(model, draws, seed=1)["y"].shape == (2, 7, 5)


def test_a_fit_can_be_replicated(engine):
    def program(m, y):
        a = m.sample("a", Normal(0.0, 1.0), shape=1)
        m.observe("y", Normal(a, 0.1), y)

    model = vl.Model(program, y=onp.ones(5))
    fit = vl.advi(model, seed=1, progress=False)
    replicated = vl.posterior_predictive(model, fit.sample(200, seed=1), seed=1)["y"]
    assert replicated.shape == (200, 5)
    sd = (0.01 + 0.1**2 / 5.01) ** 0.5  # of y given y
    assert abs(replicated.mean() - 1.0 / 1.002) < 4.0 * sd / 200**0.5


def test_latents_whose_prior_broadcasts_can_be_drawn():
    """A prior with a mean a row, in a matrix: as many independent columns as shape says."""

    def program(m):
        m.sample("b", Normal(onp.array([[0.0], [100.0]]), 1.0), shape=(2, 4))

    model = vl.Model(program)
    b = vl.prior_predictive(model, 300, seed=3)["b"]
    assert b.shape == (300, 2, 4)
    onp.testing.assert_allclose(b.mean(axis=(0, 2)), [0.0, 100.0], atol=4.0 / 1_200**0.5)
    assert len(onp.unique(b)) == b.size


@pytest.mark.parametrize(
    ("distribution", "shape"),
    [
        (MultivariateNormal(onp.array([[0.0, 50.0]]), covariance=onp.eye(2)), (4, 2)),
        (
            MultivariateNormal(onp.array([[[0.0, 50.0]], [[9.0, 9.0]]]), covariance=onp.eye(2)),
            (2, 3, 2),
        ),
        (Dirichlet(onp.ones((3, 1, 2))), (3, 5, 2)),
        (Truncated(Normal(onp.zeros((2, 1)), 1.0), lower=0.0), (2, 3)),
        (Bernoulli(probs=onp.array([[0.0], [1.0]])), (2, 6)),
        (Gamma(onp.array([2.0]), 1.0), (0,)),
    ],
    ids=repr,
)
def test_events_stay_whole(distribution, shape):
    draw = draw_of_shape(onp.random.default_rng(0), distribution, shape)
    assert draw.shape == shape
    assert onp.isfinite(distribution.log_prob(draw)).all()
    if isinstance(distribution, MultivariateNormal):
        assert (abs(draw - distribution.loc) < 5.0).all()
    if isinstance(distribution, Bernoulli):
        assert (draw == [[0], [1]]).all()


def test_where_nothing_broadcasts_draws_are_what_they_were():
    """One block of random numbers, in order."""
    d, rng = Normal(onp.arange(3.0), 1.0), onp.random.default_rng
    onp.testing.assert_array_equal(draw_of_shape(rng(1), d, (4, 3)), d.sample(rng(1), (4,)))
    onp.testing.assert_array_equal(draw_of_shape(rng(1), d, (3,)), d.sample(rng(1)))
