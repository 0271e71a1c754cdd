"""Model programs: what they contain, their log density, and what is refused."""

import numpy as onp
import pytest
import scipy.stats

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab.transforms.supports import Interval, NonNegative, Real

X = onp.array([0.3, -1.2, 0.8, 2.0])


def gaussian(m, x):
    mu = m.sample("mu", vl.Normal(0.0, 1.0))
    sd = m.sample("sd", vl.HalfNormal(1.0))
    m.deterministic("precision", sd**-2.0)
    m.observe("x", vl.Normal(mu, sd), x)


def nested(m):
    """A support that depends on another latent: b lies in (0, 1 - a)."""
    a = m.sample("a", vl.Uniform(0.0, 1.0))
    m.sample("b", vl.Uniform(0.0, 1.0 - a))


def groups(m, y, group, size):
    level = m.sample("level", vl.Normal(0.0, 1.0), shape=(size,))
    weights = m.sample("weights", vl.Dirichlet(onp.ones(3)))
    m.observe("y", vl.Normal(level[group], 1.0), y)
    m.factor("soft", weights[0] * 2.0)


def by_hand(z):
    """log p~(z) of `gaussian` from SciPy, the Jacobian of exp included."""
    mu, sd = z[0], onp.exp(z[1])
    return (
        scipy.stats.norm.logpdf(mu)
        + scipy.stats.halfnorm.logpdf(sd)
        + z[1]
        + scipy.stats.norm.logpdf(X, mu, sd).sum()
    )


def test_what_a_program_contains():
    model = vl.Model(gaussian, x=X)
    assert model.latents == ("mu", "sd")
    assert model.shapes == {"mu": (), "sd": ()}
    assert model.supports == {"mu": Real(), "sd": NonNegative()}
    assert model.dim == 2
    assert list(model.observed) == ["x"]
    assert "gaussian" in repr(model)


def test_log_density_by_hand(engine):
    model = vl.Model(gaussian, x=X)
    z = onp.random.default_rng(0).normal(size=(3, 2, 2))
    found = model.log_density(z)
    assert found.shape == (3, 2)
    for i in onp.ndindex(3, 2):
        assert found[i] == pytest.approx(by_hand(z[i]), rel=1e-12)
    assert sum(model.terms(z[0, 0]).values()) == pytest.approx(by_hand(z[0, 0]), rel=1e-12)


def test_log_joint_has_no_jacobian():
    model = vl.Model(gaussian, x=X)
    z = onp.array([0.4, -0.3])
    values = {"mu": 0.4, "sd": onp.exp(-0.3)}
    assert model.log_joint(values) == pytest.approx(by_hand(z) - z[1], rel=1e-12)


def test_constrain_and_unconstrain_are_inverse(engine):
    model = vl.Model(gaussian, x=X)
    z = onp.random.default_rng(0).normal(size=(5, 2))
    values = model.constrain(z)
    assert list(values) == ["mu", "sd", "precision"]
    onp.testing.assert_allclose(values["sd"], onp.exp(z[:, 1]), rtol=1e-14)
    onp.testing.assert_allclose(values["precision"], onp.exp(-2 * z[:, 1]), rtol=1e-12)
    back = model.unconstrain({"mu": values["mu"][2], "sd": values["sd"][2]})
    onp.testing.assert_allclose(back, z[2], rtol=1e-12)


def test_shapes_structure_and_factors(engine):
    y, group = onp.array([0.1, 0.2, -0.4]), onp.array([0, 1, 1])
    model = vl.Model(groups, y=y, group=group, size=2)
    assert model.shapes == {"level": (2,), "weights": (3,)}
    assert model.dim == 4  # a simplex of three has two free coordinates
    z = onp.array([0.5, -0.5, 0.1, 0.3])
    terms = model.terms(z)
    weights = model.constrain(z)["weights"]
    assert terms["soft"] == pytest.approx(2 * weights[0])
    assert terms["y"] == pytest.approx(scipy.stats.norm.logpdf(y, z[:2][group]).sum())
    assert float(model.log_density(z)) == pytest.approx(sum(terms.values()), rel=1e-12)


def test_a_support_may_depend_on_another_latent(engine):
    model = vl.Model(nested)
    assert model.supports == {"a": Interval(0.0, 1.0)}
    z = onp.array([[0.7, -0.4], [-2.0, 1.0]])
    values = model.constrain(z)
    assert onp.all(values["a"] + values["b"] < 1.0)
    # b is uniform given a: its density 1 / (1 - a) cancels in the Jacobian (1 - a) s (1 - s).
    s = 1 / (1 + onp.exp(-z))
    onp.testing.assert_allclose(model.log_density(z), onp.log(s * (1 - s)).sum(axis=1), rtol=1e-12)


def test_equal_structures_share_compiled_code():
    first, second = vl.Model(gaussian, x=X), vl.Model(gaussian, x=X + 1.0)
    assert first.structure == second.structure
    assert hash(first.structure) == hash(second.structure)
    assert vl.Model(gaussian, x=X).log_density(onp.zeros(2)) != second.log_density(onp.zeros(2))


def test_data_are_copied():
    x = X.copy()
    model = vl.Model(gaussian, x=x)
    before = float(model.log_density(onp.zeros(2)))
    x += 1.0
    assert float(model.log_density(onp.zeros(2))) == before


def test_target(engine):
    target = vl.Target(lambda z: -0.5 * np.sum(z**2, axis=-1), dim=3, name="theta")
    assert target.latents == ("theta",)
    fit = vl.advi(target, "full_rank", seed=0, progress=False)
    assert fit.sample(4, seed=1)["theta"].shape == (4, 3)
    with pytest.raises(ValueError, match="dim"):
        vl.Target(lambda z: z, dim=0)
    with pytest.raises(TypeError, match="density"):
        vl.Target(3.0, dim=2)


# -------------------------------------------------------------------- clear errors
def refused(program, match, kind=ValueError, **data):
    with pytest.raises(kind, match=match):
        vl.Model(program, **data)


def test_two_latents_with_one_name():
    def twice(m):
        m.sample("a", vl.Normal(0.0, 1.0))
        m.sample("a", vl.Normal(0.0, 1.0))

    refused(twice, "'a' is used twice")


def test_no_latents():
    refused(lambda m, x: m.observe("x", vl.Normal(0.0, 1.0), x), "no latents", x=X)


def test_branches_on_data_and_on_latents():
    def on_data(m, x):
        if x.mean() > 0:
            m.sample("a", vl.Normal(0.0, 1.0))
        m.sample("b", vl.Normal(0.0, 1.0))

    def on_element(m, x):
        if x[0] > 0:
            m.sample("a", vl.Normal(0.0, 1.0))
        m.sample("b", vl.Normal(0.0, 1.0))

    def on_latent(m):
        a = m.sample("a", vl.Normal(0.0, 1.0))
        if a > 0.1:
            m.sample("b", vl.Normal(0.0, 1.0))

    refused(on_data, "branches on the value of data 'x'", TypeError, x=X)
    refused(on_element, "branches on the value of data 'x'", TypeError, x=X)
    refused(on_latent, "branches on the value of latent 'a'", TypeError)


def test_structural_data_may_steer():
    def program(m, x, wide):
        sd = 10.0 if wide else 1.0
        m.sample("a", vl.Normal(0.0, sd))

    wide, narrow = (vl.Model(program, x=X, wide=w) for w in (True, False))
    assert wide.structure != narrow.structure
    assert wide.log_density(onp.zeros(1)) < narrow.log_density(onp.zeros(1))


def test_discrete_latents():
    refused(lambda m: m.sample("k", vl.Bernoulli(probs=0.5)), "'k': is discrete.*marginalise")


@pytest.mark.parametrize(
    ("x", "match", "kind"),
    [
        (onp.array([1.0, onp.nan]), "1 of 2 values are NaN", ValueError),
        (onp.array([]), "empty", ValueError),
        (["a", "b"], "give numbers", TypeError),
        ([[1.0], [1.0, 2.0]], "cannot be made an array", TypeError),
    ],
)
def test_bad_data(x, match, kind):
    refused(gaussian, f"data 'x'.*{match}", kind, x=x)


def test_data_that_do_not_fit_the_program():
    refused(gaussian, "do not fit the data", TypeError, y=X)
    refused(gaussian, "do not fit the data", TypeError, x=X, y=X)
    refused(3.0, "give a function program", TypeError)


def test_data_of_the_wrong_shape():
    def program(m, x):
        mu = m.sample("mu", vl.Normal(0.0, 1.0), shape=(3,))
        m.observe("x", vl.Normal(mu, 1.0), x)

    refused(program, r"observation 'x': data of shape \(4,\).*\(3,\)", x=X)

    def column(m, x):
        mu = m.sample("mu", vl.Normal(0.0, 1.0))
        m.observe("x", vl.Normal(mu * onp.ones((4, 1)), 1.0), x)  # would broadcast to (4, 4)

    refused(column, "observation 'x'", x=X)


def test_observations_outside_the_support():
    def program(m, x):
        m.observe("x", vl.Exponential(m.sample("rate", vl.HalfNormal(1.0))), x)

    refused(program, "1 of 4 values lie outside", x=X)


def test_shape_that_does_not_hold_the_prior():
    def program(m):
        m.sample("a", vl.Normal(onp.zeros(3), 1.0), shape=(2,))

    refused(program, r"latent 'a': shape=\(2,\)")


def test_unconstrain_names_what_is_wrong():
    model = vl.Model(gaussian, x=X)
    with pytest.raises(ValueError, match="sd"):
        model.unconstrain({"mu": 0.0})
    with pytest.raises(ValueError, match=r"sd: the value .* outside"):
        model.unconstrain({"mu": 0.0, "sd": -1.0})


# ------------------------------------------------------------------- predictive draws
def test_prior_predictive_has_the_priors_moments():
    """|error| < 4.5 standard errors in 3 comparisons: one false alarm in 50,000."""
    model = vl.Model(gaussian, x=X)
    draws = vl.prior_predictive(model, 4_000, seed=1)
    assert draws["x"].shape == (4_000, 4)
    assert draws["precision"].shape == (4_000,)
    assert abs(draws["mu"].mean()) < 4.5 / 4_000**0.5
    half = scipy.stats.halfnorm
    assert abs(draws["sd"].mean() - half.mean()) < 4.5 * half.std() / 4_000**0.5
    # Var x = Var mu + E sd^2 = 2; its estimate has sd sqrt((E x^4 - 4) / n), E x^4 = 18.
    assert abs(onp.mean(draws["x"][:, 0] ** 2) - 2.0) < 4.5 * (14.0 / 4_000) ** 0.5


def test_posterior_predictive_uses_the_draws_and_keeps_their_axes():
    model = vl.Model(gaussian, x=X)
    draws = {"mu": onp.full((2, 500), 3.0), "sd": onp.full((2, 500), 0.1)}
    replicated = vl.posterior_predictive(model, draws, seed=1)["x"]
    assert replicated.shape == (2, 500, 4)
    assert abs(replicated.mean() - 3.0) < 4.5 * 0.1 / 4_000**0.5
    again = vl.posterior_predictive(model, draws, seed=1)["x"]
    assert (again == replicated).all()
    assert (vl.posterior_predictive(model, draws, seed=2)["x"] != replicated).any()


def test_predictive_errors():
    model = vl.Model(gaussian, x=X)
    with pytest.raises(ValueError, match="num_draws"):
        vl.prior_predictive(model, 0, seed=1)
    with pytest.raises(ValueError, match="lacks the latents"):
        vl.posterior_predictive(model, {"mu": onp.zeros(3)}, seed=1)
    with pytest.raises(ValueError, match="draws\\['sd'\\]"):
        vl.posterior_predictive(model, {"mu": onp.zeros(3), "sd": onp.ones(4)}, seed=1)
    with pytest.raises(ValueError, match="observes no data"):
        vl.posterior_predictive(vl.Model(nested), {"a": [0.1], "b": [0.2]}, seed=1)
    with_factor = vl.Model(groups, y=onp.zeros(1), group=onp.array([0]), size=1)
    with pytest.raises(ValueError, match="factor 'soft'"):
        vl.prior_predictive(with_factor, 2, seed=1)
