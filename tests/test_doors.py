"""What distributions, supports, models and settings say to arguments that cannot be meant.

Each is taken as it was meant, or refused with one message that begins with the argument's name.
"""

from fractions import Fraction

import numpy as onp
import pytest

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab.conjugate import (
    GaussianMixture,
    GaussianTarget,
    KnownVarianceMixture,
    LinearRegression,
    NormalModel,
)
from vi_lab.distributions import (
    Bernoulli,
    Beta,
    Binomial,
    Dirichlet,
    Flat,
    Gamma,
    LKJCholesky,
    MultivariateNormal,
    Normal,
    Uniform,
)
from vi_lab.optimizers import SGD, Adam, Clipped, Momentum
from vi_lab.transforms import IntervalTransform, LowerBound, UpperBound, supports

NAN, INF = onp.nan, onp.inf
NORMAL2 = MultivariateNormal(onp.zeros(2), covariance=onp.eye(2))


def pair(m):
    m.sample("a", Normal(0.0, 1.0))
    m.sample("s", Gamma(2.0, 1.0))


PAIR = vl.Model(pair)
TARGET = vl.Target(lambda z: -0.5 * np.sum(z**2, axis=-1), dim=2)

REFUSED = {
    # supports and their transforms
    r"lower, upper: Interval needs lower < upper": lambda: supports.Interval(1, 0),
    r"lower, upper: Interval needs .* not lower=2": lambda: supports.Interval(2.0, 2.0),
    r"lower, upper: Interval .* in every": lambda: supports.Interval([0.0, 1.0], [1.0, 0.5]),
    r"lower, upper: Interval's .* shapes \(2,\) and \(3,\)": lambda: supports.Interval(
        onp.zeros(2), onp.ones(3)
    ),
    r"upper: Interval's upper must be finite": lambda: supports.Interval(0.0, INF),
    r"lower: Interval's lower must be a number": lambda: supports.Interval("0", 1.0),
    r"lower: GreaterThan's lower must be finite, not nan": lambda: supports.GreaterThan(NAN),
    r"lower: GreaterThan's lower .* -inf": lambda: supports.GreaterThan(-INF),
    r"upper: LessThan's upper must be finite, not nan": lambda: supports.LessThan(NAN),
    r"upper: LessThan's upper must be a number": lambda: supports.LessThan(1j),
    r"lower, upper: IntegerInterval needs": lambda: supports.IntegerInterval(3, 1),
    r"upper: IntegerInterval's upper": lambda: supports.IntegerInterval(0, NAN),
    r"lower, upper: IntervalTransform needs": lambda: IntervalTransform(1.0, 0.0),
    r"lower: LowerBound's lower must be finite": lambda: LowerBound(NAN),
    r"upper: UpperBound's upper must be finite": lambda: UpperBound(INF),
    # parameters
    r"loc: Normal's loc must be a number, not \(1\+1j\)": lambda: Normal(1 + 1j, 1.0),
    r"loc: .* not an array of complex128": lambda: Normal(onp.array([1j, 1.0]), 1.0),
    r"loc: .* not np.complex128": lambda: Normal(onp.complex128(1j), 1.0),
    r"scale: Normal's scale .* not an array of <U1": lambda: Normal(0.0, onp.array(["a"])),
    r"loc: .* not Normal\(": lambda: Normal(Normal(0.0, 1.0), 1.0),
    r"loc: .* not \{'a'": lambda: Normal({"a": 1.0}, 1.0),
    r"loc: .* not \[\[1.0\], \[1.0, 2.0\]\]": lambda: Normal([[1.0], [1.0, 2.0]], 1.0),
    r"probs: Bernoulli's probs": lambda: Bernoulli(probs="half"),
    r"dim: must be a whole number, 2 or more": lambda: LKJCholesky(True, 1.0),
    # values
    r"x: must be a number, not 'a'": lambda: Normal(0.0, 1.0).log_prob("a"),
    r"x: must be a number, not None": lambda: Normal(0.0, 1.0).log_prob(None),
    r"x: must be a number, not an array of compl": lambda: Normal(0, 1).log_prob(onp.array([1j])),
    r"x: of shape \(4,\) does not broadcast .* \(3,\)": lambda: Normal(onp.zeros(3), 1.0).log_prob(
        onp.zeros(4)
    ),
    r"x: of shape \(4,\) does not .* Beta": lambda: Beta(onp.ones(3), 1.0).log_prob(
        onp.full(4, 0.5)
    ),
    r"x: MultivariateNormal .* shape \(2\), but x has the shape \(\)": lambda: NORMAL2.log_prob(
        0.0
    ),
    r"x: MultivariateNormal .* the shape \(5, 1\)": lambda: NORMAL2.log_prob(onp.zeros((5, 1))),
    r"x: MultivariateNormal .* the shape \(3,\)": lambda: NORMAL2.log_prob(onp.zeros(3)),
    r"x: LKJCholesky .* shape \(2, 2\), .* \(3, 3\)": lambda: LKJCholesky(2, 1.0).log_prob(
        onp.eye(3)
    ),
    r"x: LKJCholesky .* \(2,\)": lambda: LKJCholesky(2, 1.0).log_prob(onp.ones(2)),
    r"x: Dirichlet .* shape \(3\)": lambda: Dirichlet(onp.ones(3)).log_prob([0.5, 0.5]),
    r"x: Flat .* shape \(K\)": lambda: Flat(supports.Simplex()).log_prob(0.5),
    r"x: Flat .* shape \(K, K\)": lambda: Flat(supports.CovarianceCholesky()).log_prob(
        onp.ones((2, 3))
    ),
    r"shape: must be the lengths": lambda: Normal(0.0, 1.0).sample(onp.random.default_rng(0), 2.5),
    # points
    r"z: must have the shape \(\.\.\., 2\), .* not \(3,\)": lambda: TARGET.log_density(
        onp.zeros(3)
    ),
    r"z: must have .* not \(2, 1\)": lambda: TARGET.log_density(onp.zeros((2, 1))),
    r"z: must have .* R\^2, not \(3,\)": lambda: PAIR.constrain(onp.zeros(3)),
    r"z: must have .* R\^2, not \(4,\)": lambda: PAIR.constrain(onp.zeros(4)),
    r"z: must have .* not \(\)": lambda: PAIR.constrain(0.0),
    r"z: must have .* not \(1,\)": lambda: PAIR.log_density(onp.zeros(1)),
    r"z: must have .* not \(3, 4\)": lambda: PAIR.log_density(onp.zeros((3, 4))),
    r"z: must be one point \(2,\), not \(5, 2\)": lambda: PAIR.terms(onp.zeros((5, 2))),
    r"z: must be a number, not 'zero'": lambda: PAIR.log_density("zero"),
    r"z: must have .* R\^2, not \(5,\)": lambda: TARGET.constrain(onp.zeros(5)),
    r"values: need exactly 'z', not \['x'\]": lambda: TARGET.unconstrain({"x": onp.zeros(2)}),
    r"z: must have the shape .* not \(7,\)": lambda: TARGET.unconstrain({"z": onp.zeros(7)}),
    r"a: the value has the shape \(2,\)": lambda: PAIR.unconstrain({"a": [0.0, 1.0], "s": 1.0}),
    r"a: the value must be a number, not 'x'": lambda: PAIR.log_joint({"a": "x", "s": 1.0}),
    r"values: .* missing or unknown: \['s'\]": lambda: PAIR.log_joint({"a": 1.0}),
    # settings
    r"norm: must be a positive number": lambda: Clipped(Adam(0.1), -1),
    r"step_size: must be positive, but .* -0.1 at step 1;": lambda: SGD(lambda t: -0.1),
    r"step_size: .* gives -9 at step 100;": lambda: Adam(lambda t: 1.0 - 0.1 * t),
    r"step_size: .* gives nan at step": lambda: Momentum(lambda t: NAN),
    r"step_size: .* gives 0 at step 1;": lambda: SGD(lambda t: 0.0),
    r"step_size: .* at t = 1 it fails: float division": lambda: SGD(lambda t: 1.0 / (t - 1.0)),
    r"step_size: .* at t = 1 it fails": lambda: SGD(lambda t: "slow"),
    r"mean: must be a number, not 'a'": lambda: NormalModel(mean="a"),
    r"mean: must be one number, not \[1": lambda: NormalModel(mean=[1.0, 2.0]),
    r"mean: must be finite, not nan": lambda: NormalModel(mean=NAN),
    r"prior_mean: must be a number": lambda: KnownVarianceMixture(2, prior_mean="a"),
    r"mean: must be a number, not 'b'": lambda: LinearRegression(mean="b"),
    r"precision: must be a number, not 'c'": lambda: LinearRegression(precision="c"),
    r"mean: must be a number, not 'd'": lambda: GaussianMixture(2, mean="d"),
    r"scatter: must be a number, not 'e'": lambda: GaussianMixture(2, scatter="e"),
    r"precision: must be a number, not 'f'": lambda: GaussianTarget([0.0], "f"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_one_message_names_the_argument(message):
    with pytest.raises(vl.ViLabError, match=f"^{message}"):
        REFUSED[message]()


WRONG_KIND = {
    r"support: Flat needs a support .* not 3": lambda: Flat(3),
    r"support: Flat needs .* not <class": lambda: Flat(supports.Positive),
    r"support: Flat needs .* not Normal": lambda: Flat(Normal(0.0, 1.0)),
    r"optimizer: 3 has no method 'init'; give one such as Adam": lambda: Clipped(3, 1),
    r"optimizer: 'adam' has no method 'init'": lambda: Clipped("adam", 1),
    r"optimizer: Adam is a class; give a value of it": lambda: Clipped(Adam, 1.0),
    r"model: is a function; give a vi_lab.Model": lambda: vl.prior_predictive(pair, seed=0),
    r"model: is a Target; give a vi_lab.Model": lambda: vl.posterior_predictive(TARGET, {}, seed=0),
    r"draws: is a list; give a dictionary of draws": lambda: vl.posterior_predictive(
        PAIR_SEEN, [], seed=0
    ),
}


def seen(m, y):
    a = m.sample("a", Normal(0.0, 1.0))
    m.observe("y", Normal(a, 1.0), y)


PAIR_SEEN = vl.Model(seen, y=[1.0, 2.0])


@pytest.mark.parametrize("message", WRONG_KIND)
def test_a_wrong_kind_of_object_is_named(message):
    with pytest.raises(TypeError, match=f"^{message}"):
        WRONG_KIND[message]()


def test_the_number_of_draws_is_a_whole_number():
    for bad in (0, -1, 2.5, "ten", None):
        with pytest.raises(vl.ViLabError, match=r"^num_draws: must be a whole number"):
            vl.prior_predictive(PAIR, bad, seed=0)


# --------------------------------------------------------- what programs may not say

PROGRAMS = {
    r"sample\('a'\): the second argument must be a distribution, not 3": lambda m: m.sample("a", 3),
    r"sample\('a'\): .* not the class Normal; give it its par": lambda m: m.sample("a", Normal),
    r"observe\('y'\): the second argument .* not None": lambda m: m.observe("y", None, 1.0),
    r"observe\('y'\): .* not the class Normal": lambda m: m.observe("y", Normal, 1.0),
    r"program: takes the value of latent 'a' as a Python number, .* use vi_lab": lambda m: float(
        m.sample("a", Normal(0.0, 1.0))
    ),
}


@pytest.mark.parametrize("message", PROGRAMS)
def test_a_program_that_cannot_work_is_told_why(message):
    with pytest.raises(TypeError, match=f"^{message}"):
        vl.Model(lambda m: PROGRAMS[message](m))


@pytest.mark.parametrize(
    ("distribution", "shape", "message"),
    [
        (Normal(0.0, 1.0), 2.5, "latent 'a': shape: must be the lengths of the axes"),
        (Normal(0.0, 1.0), (-1,), "latent 'a': shape: must be the lengths of the axes"),
        (Normal(0.0, 1.0), "3", "latent 'a': shape: must be the lengths of the axes"),
        (Normal(onp.zeros(3), 1.0), 2, r"latent 'a': shape=\(2,\) does not hold"),
        (MultivariateNormal([0.0], covariance=[[1.0]]), 4, r"latent 'a': shape=\(4,\) does not"),
        (Dirichlet([1.0, 1.0]), (2, 3), r"latent 'a': shape=\(2, 3\) does not hold"),
        (Flat(supports.Ordered()), None, "latent 'a': Flat.* does not know the shape"),
    ],
    ids=repr,
)
def test_a_shape_that_cannot_be_is_refused(distribution, shape, message):
    with pytest.raises(vl.ViLabError, match=f"^{message}"):
        vl.Model(lambda m: m.sample("a", distribution, shape=shape))


def test_a_slip_of_the_hand_does_not_fill_the_memory():
    with pytest.raises(ValueError, match=r"^latent 'a': shape \(1000000000,\) makes 1,000,000,000"):
        vl.Model(lambda m: m.sample("a", Normal(0.0, 1.0), shape=10**9))


def test_codes_count_from_0():
    def program(m, group, y):
        a = m.sample("a", Normal(0.0, 1.0), shape=3)
        m.observe("y", Normal(a[group], 1.0), y)

    with pytest.raises(IndexError, match=r"^program program: index 3 .*subtract 1 from codes"):
        vl.Model(program, group=[1, 2, 3], y=[0.0, 1.0, 2.0])


@pytest.mark.parametrize("y", [0.5, onp.zeros(3), onp.zeros((2, 1))])
def test_data_are_whole_vectors(y):
    def program(m, y):
        m.sample("a", Normal(0.0, 1.0))
        m.observe("y", NORMAL2, y)

    with pytest.raises(ValueError, match=r"^observation 'y': data of shape .* do not fit"):
        vl.Model(program, y=y)


# ------------------------------------------------------------------ what is meant


@pytest.mark.parametrize("shape", [3, onp.int64(3), [3], (onp.int32(3),), onp.array([3])])
def test_an_integer_is_a_shape_of_one_axis(shape, engine):
    def program(m):
        m.sample("a", Normal(0.0, 1.0), shape=shape)
        m.sample("b", Flat(supports.Ordered()), shape=shape)

    model = vl.Model(program)
    assert model.shapes == {"a": (3,), "b": (3,)}
    assert model.log_density(onp.zeros(6)).shape == ()
    assert Normal(0.0, 1.0).sample(onp.random.default_rng(0), shape).shape == (3,)

    def proper(m):
        m.sample("a", Normal(0.0, 1.0), shape=shape)

    assert vl.prior_predictive(vl.Model(proper), 2, seed=0)["a"].shape == (2, 3)


def test_numpy_integers_are_integers(engine):
    three = onp.int64(3)

    def program(m, k, switch):
        assert switch  # structure: a branch on it is no branch on data
        a = [m.sample(f"a{i}", Normal(0.0, 1.0)) for i in range(k)]
        m.factor("f", -sum(a))

    model = vl.Model(program, k=three, switch=onp.bool_(True))
    assert model.latents == ("a0", "a1", "a2")
    assert model.structure == vl.Model(program, k=3, switch=True).structure
    assert LKJCholesky(three, 1.0).event_shape == (3, 3)
    assert vl.Target(lambda z: -np.sum(z**2), dim=three).shapes == {"z": (3,)}
    assert Binomial(three, 0.5).log_prob(three) == Binomial(3, 0.5).log_prob(3)
    assert len(vl.prior_predictive(PAIR, three, seed=0)["a"]) == 3


def test_numbers_of_other_kinds_are_numbers():
    assert Normal(Fraction(1, 2), 1).log_prob(Fraction(3, 2)) == Normal(0.5, 1.0).log_prob(1.5)
    pandas = pytest.importorskip("pandas")
    column = pandas.Series([1.0, 2.0])
    found = Normal(column, 1.0).log_prob(column)
    assert type(found) is onp.ndarray
    onp.testing.assert_array_equal(found, Normal([1.0, 2.0], 1.0).log_prob([1.0, 2.0]))
    assert supports.Interval([0, 1], [2, 3]).contains(onp.array([1.0, 5.0])).tolist() == [
        True,
        False,
    ]


def test_a_schedule_may_end_in_zero():
    assert SGD(lambda t: max(0.0, 1.0 - 1e-3 * t)).step_size(5_000.0) == 0.0


# ------------------------------------------- where the first look is no posterior's place


def test_a_scale_may_be_negative_where_a_program_is_looked_at(engine):
    """sigma = 3 + z: at z = -3 and below there is no density, and nothing goes there."""

    def program(m, y):
        s = m.sample("s", Normal(3.0, 0.1))
        m.observe("y", Normal(0.0, s - 1.0), y)

    y = onp.array([1.0, -2.0, 3.0])
    model = vl.Model(program, y=y)
    found = model.log_density(onp.array([3.1]))
    onp.testing.assert_allclose(
        found, Normal(3.0, 0.1).log_prob(3.1) + Normal(0.0, 2.1).log_prob(y).sum(), rtol=1e-13
    )
    terms = model.terms(onp.array([0.5]))
    assert onp.isnan(terms["y"])
    assert onp.isfinite(terms["s"])
    fit = vl.advi(model, seed=1, init={"s": 3.0}, progress=False)
    assert abs(fit.mean["s"] - 3.0) < 0.1


def test_a_scale_that_is_data_is_looked_at():
    def program(m, y, s):
        a = m.sample("a", Normal(0.0, 1.0))
        m.observe("y", Normal(a, s), y)

    with pytest.raises(ValueError, match=r"^scale: Normal's scale must be positive"):
        vl.Model(program, y=[1.0, 2.0], s=[1.0, -1.0])


def test_data_are_compared_with_a_support_only_where_it_stands():
    """Uniform on [0, theta]: theta is 1 where the program is looked at, and not so later."""

    def open_ended(m, y):
        theta = m.sample("theta", Gamma(2.0, 0.1))
        m.observe("y", Uniform(0.0, theta), y)

    y = onp.array([3.0, 7.0])
    model = vl.Model(open_ended, y=y)
    onp.testing.assert_allclose(
        model.log_joint({"theta": 8.0}), Gamma(2.0, 0.1).log_prob(8.0) - 2.0 * onp.log(8.0)
    )
    assert model.log_joint({"theta": 5.0}) == -INF

    def fixed(m, y):
        m.sample("theta", Gamma(2.0, 0.1))
        m.observe("y", Uniform(0.0, 5.0), y)

    with pytest.raises(ValueError, match=r"^observation 'y': 1 of 2 values lie outside"):
        vl.Model(fixed, y=y)
