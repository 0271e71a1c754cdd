"""Natural coordinates: pull-backs by automatic differentiation, Fisher's matrix, invariance."""

import itertools

import numpy as onp
import pytest

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab.advi.blocks import Problem, run_block
from vi_lab.engine import current
from vi_lab.engine.trees import tree_map
from vi_lab.families import FullRankGaussian, LowRankGaussian, MeanFieldGaussian
from vi_lab.gradients import StickingTheLanding
from vi_lab.optimizers import Mean, NaturalGradient

DIM = 3
MEAN_FIELD, FULL_RANK, LOW_RANK = MeanFieldGaussian(), FullRankGaussian(), LowRankGaussian(rank=2)


def random_params(family, dim=DIM, seed=0):
    rng = onp.random.default_rng(seed)
    params = family.init(rng.normal(size=dim), 1.0)
    filled = tree_map(lambda x: rng.normal(size=x.shape), params)
    if "lower" in filled:
        filled["lower"] = onp.tril(filled["lower"], -1)
    return filled


CASES = [MEAN_FIELD, LOW_RANK, FULL_RANK]
IDS = ["mean field", "low rank", "full rank"]


def tangent_and_derivative(family):
    """A function for the tangent of f's gradient and d/dt f(retract(params, t direction)) at 0.

    f is smooth and treats no entry of q's mean and scale like another.
    """
    weights = onp.random.default_rng(2).normal(size=(DIM, family.base_dim(DIM)))

    def f(params):
        eye = onp.eye(family.base_dim(DIM))
        scale = family.scale_times(params, eye).T  # column by column
        return np.sum(np.sin(params["loc"] * weights[:, 0])) + np.sum(np.cos(weights * scale))

    def both(params, direction):
        _, gradient = current().value_and_grad(f)(params)
        tangent = family.tangent(params, gradient)

        def along(t):
            step = tree_map(lambda d: t * d, direction)
            return f(family.retract(params, step))

        return tangent, current().value_and_grad(along)(0.0)[1]

    return both


@pytest.mark.parametrize("family", CASES, ids=IDS)
def test_the_tangent_is_the_pull_back_with_scales_halved(engine, family):
    params, rng = random_params(family), onp.random.default_rng(3)
    direction = tree_map(lambda x: rng.normal(size=x.shape), family.zero_tangent(params))
    if "scale" in direction:
        direction["scale"] = onp.tril(direction["scale"])
    both = tangent_and_derivative(family)
    tangent, derivative = engine.compile(both)(params, direction)
    weight = {
        "loc": 1.0,
        "log_scale": 2.0,
        "factors": 1.0,
        "scale": onp.ones((DIM, DIM)) + onp.eye(DIM),
    }
    pairing = sum(onp.sum(weight[name] * tangent[name] * direction[name]) for name in tangent)
    onp.testing.assert_allclose(pairing, derivative, rtol=1e-10)


@pytest.mark.parametrize("family", CASES, ids=IDS)
def test_zero_has_the_shapes_of_tangents_and_leads_nowhere(family):
    params = random_params(family)
    zero = family.zero_tangent(params)
    tangent = family.tangent(params, params)
    assert {n: onp.shape(v) for n, v in zero.items()} == {
        n: onp.shape(v) for n, v in tangent.items()
    }
    assert all((value == 0.0).all() for value in zero.values())
    stayed = family.retract(params, zero)
    assert stayed.keys() == params.keys()
    for name in params:
        onp.testing.assert_allclose(stayed[name], params[name], rtol=1e-14, atol=1e-14)


def test_a_step_in_the_triangle_multiplies_the_scale_from_the_right():
    params = random_params(FULL_RANK)
    rng = onp.random.default_rng(4)
    below = onp.tril(rng.normal(size=(DIM, DIM)), -1)
    on, loc = rng.normal(size=DIM), rng.normal(size=DIM)
    moved = FULL_RANK.retract(params, {"loc": loc, "scale": below + onp.diag(on)})
    scale = FULL_RANK.scale_tril(params)
    onp.testing.assert_allclose(
        FULL_RANK.scale_tril(moved), scale @ (below + onp.diag(onp.exp(on))), atol=1e-13
    )
    onp.testing.assert_allclose(moved["loc"], params["loc"] + scale @ loc, rtol=1e-13)
    assert (moved["lower"] == onp.tril(moved["lower"], -1)).all()


# ----------------------------------------------------------------- the natural gradient
@pytest.mark.parametrize("family", [MEAN_FIELD, FULL_RANK], ids=["mean_field", "full_rank"])
def test_a_plain_step_is_a_step_along_the_natural_gradient(engine, family):
    """Fisher's matrix is E[score score'], a quartic: 5 x 5 Gauss-Hermite nodes are exact."""
    params = random_params(family, dim=2)
    gradient = random_params(family, dim=2, seed=6)
    nodes, weights = onp.polynomial.hermite_e.hermegauss(5)
    grid = onp.array(list(itertools.product(nodes, nodes)))
    mass = onp.array([a * b for a, b in itertools.product(weights, weights)]) / (2 * onp.pi)

    def scores(params, z):
        def score(row):
            return current().value_and_grad(lambda p: family.log_density(p, row))(params)[1]

        return current().vmap(score)(z)

    def flat(params):
        parts = [params["loc"], params["log_scale"]]
        return onp.concatenate(
            [*parts, params["lower"][..., [1], 0]] if "lower" in params else parts
        )

    z = family.transform(params, grid)
    rows = engine.compile(scores)(params, z)
    score = onp.array([flat(tree_map(lambda x: x[i], rows)) for i in range(len(z))])  # noqa: B023
    fisher = score.T @ (mass[:, None] * score)
    natural = onp.linalg.solve(fisher, flat(gradient))

    tangent = family.tangent(params, gradient)
    h = 1e-5
    ahead, behind = (
        flat(family.retract(params, tree_map(lambda u: t * u, tangent)))  # noqa: B023
        for t in (h, -h)
    )
    # A central difference: relative error h^2, and rounding 1e-16 / h.
    onp.testing.assert_allclose((ahead - behind) / (2 * h), natural, rtol=1e-7, atol=1e-7)


# ------------------------------------------------------------------------- invariance
A = {
    "full_rank": onp.array([[2.0, 0.0, 0.0], [-30.0, 1e-3, 0.0], [0.3, 5.0, 100.0]]),
    "mean_field": onp.diag([2.0, 1e-3, 100.0]),
}
B = onp.array([1.0, -5.0, 300.0])


def density(z):
    """A quartic, so that no step is that of a Gaussian."""
    correlated = z[..., 0] + 2.0 * z[..., 1] - z[..., 2]
    return -0.5 * correlated**2 - 0.25 * np.sum((z - 0.5) ** 4, axis=-1)


@pytest.mark.parametrize("family", [MEAN_FIELD, FULL_RANK], ids=["mean_field", "full_rank"])
def test_a_descent_of_transformed_coordinates_is_the_descent_transformed(engine, family):
    """z -> A z + b: any lower triangle for full rank, any diagonal for mean field.

    They agree to rounding, 1e-16 times the condition of A, some 1e5, and times the size
    of what cancels: the losses are in the thousands at first.
    """
    full = family == FULL_RANK
    matrix = A["full_rank"] if full else A["mean_field"]
    inverse = onp.linalg.inv(matrix)
    log_det = onp.log(onp.diag(matrix)).sum()
    plain = vl.Target(density, dim=DIM)
    transformed = vl.Target(lambda z: density(np.dot(z - B, inverse.T)) - log_det, dim=DIM)

    start = random_params(family)
    scale = matrix @ onp.asarray(family.scale_tril(start))
    moved = {"loc": matrix @ start["loc"] + B, "log_scale": onp.log(onp.diag(scale))}
    if full:
        moved["lower"] = onp.tril(scale / onp.diag(scale)[:, None], -1)

    eps = onp.random.default_rng(7).standard_normal((60, 1, DIM))

    def descend(target, params):
        steps = NaturalGradient(family, step_size=0.1, beta2=0.99, shared=full)
        problem = Problem(target.structure, family, StickingTheLanding(), steps, Mean())
        run = engine.compile(run_block, static=(0,))
        state = problem.init(params)
        (params, _, _), losses = run(problem, state, (eps, {}), len(eps), {})
        return params, losses

    here, losses = descend(plain, start)
    there, losses_there = descend(transformed, moved)
    onp.testing.assert_allclose(losses_there, losses, rtol=1e-8, atol=1e-9)
    onp.testing.assert_allclose(there["loc"], matrix @ here["loc"] + B, rtol=1e-8)
    onp.testing.assert_allclose(
        family.scale_tril(there), matrix @ onp.asarray(family.scale_tril(here)), rtol=1e-7
    )
    assert onp.abs(here["loc"] - start["loc"]).max() > 0.1  # it went somewhere
