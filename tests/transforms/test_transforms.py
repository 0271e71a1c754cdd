"""Transforms: one table of cases drives nearly every test, on both engines and on NumPy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from vi_lab.transforms import (
    CorrelationCholeskyTransform,
    CovarianceCholeskyTransform,
    Exp,
    Identity,
    IntervalTransform,
    LowerBound,
    OrderedTransform,
    PositiveOrderedTransform,
    Softplus,
    StickBreaking,
    UpperBound,
    supports,
    to_support,
)


def _all(x: Any) -> Any:
    return x


def _below(offset: int) -> Callable[[Any], Any]:
    """The entries of a triangle, row by row."""

    def entries(x: Any) -> Any:
        rows, columns = np.tril_indices(x.shape[-1], offset)
        return x[..., rows, columns]

    return entries


@dataclass(frozen=True)
class Case:
    """A transform, the set it reaches, and the shape of one z.

    ``free(x)`` are the coordinates of x in which its Jacobian is taken.
    """

    name: str
    transform: Any
    support: Any
    shape: tuple[int, ...]
    free: Callable[[Any], Any] = _all


CASES = [
    Case("identity", Identity(), supports.Real(), ()),
    Case("identity of vectors", Identity(event_ndim=1), supports.RealVector(), (3,)),
    Case("exp", Exp(), supports.Positive(), ()),
    Case("softplus", Softplus(), supports.Positive(), ()),
    Case("lower bound", LowerBound(-1.5), supports.GreaterThan(-1.5), ()),
    Case("upper bound", UpperBound(2.0), supports.LessThan(2.0), ()),
    Case("unit interval", IntervalTransform(0.0, 1.0), supports.Interval(0.0, 1.0), ()),
    Case("interval", IntervalTransform(-0.3, 2.1), supports.Interval(-0.3, 2.1), ()),
    Case("ordered", OrderedTransform(), supports.Ordered(), (4,)),
    Case("ordered, one entry", OrderedTransform(), supports.Ordered(), (1,)),
    Case("positive ordered", PositiveOrderedTransform(), supports.PositiveOrdered(), (4,)),
    Case("simplex", StickBreaking(), supports.Simplex(), (3,), lambda x: x[..., :-1]),
    Case("simplex of two", StickBreaking(), supports.Simplex(), (1,), lambda x: x[..., :-1]),
    Case(
        "correlation",
        CorrelationCholeskyTransform(),
        supports.CorrelationCholesky(),
        (6,),
        _below(-1),
    ),
    Case(
        "correlation of two",
        CorrelationCholeskyTransform(),
        supports.CorrelationCholesky(),
        (1,),
        _below(-1),
    ),
    Case(
        "covariance", CovarianceCholeskyTransform(), supports.CovarianceCholesky(), (6,), _below(0)
    ),
    Case(
        "covariance of one",
        CovarianceCholeskyTransform(),
        supports.CovarianceCholesky(),
        (1,),
        _below(0),
    ),
]

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
SCALARS = [case for case in CASES if case.shape == ()]


def _points(case: Case, count: int, scale: float = 1.5) -> np.ndarray:
    return np.random.default_rng(8).normal(scale=scale, size=(count, *case.shape))


# ---------------------------------------------------------------------- the bijection


@each_case
def test_round_trip_from_z_and_from_x(case):
    z = _points(case, 50)
    x = case.transform.forward(z)
    back = case.transform.inverse(x)
    np.testing.assert_allclose(back, z, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(case.transform.forward(back), x, rtol=1e-12, atol=1e-13)


@each_case
def test_forward_lands_in_the_support(case):
    assert np.all(case.support.contains(case.transform.forward(_points(case, 200, scale=3.0))))


@each_case
def test_engines_agree_with_numpy(case, engine):
    def evaluate(z: Any, x: Any) -> tuple:
        transform = case.transform
        return transform.forward(z), transform.log_abs_det_jacobian(z), transform.inverse(x)

    z = _points(case, 4)
    x = case.transform.forward(z)
    for actual, expected in zip(engine.compile(evaluate)(z, x), evaluate(z, x), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


@each_case
def test_log_determinant_is_that_of_the_automatic_jacobian(case, engine):
    size = int(np.prod(case.shape))

    def jacobian(z: Any) -> tuple:
        """A row for each free coordinate of x, as a tuple: engines stack differently."""

        def coordinate(z: Any, i: int) -> Any:
            x = case.free(case.transform.forward(z))
            return x.reshape((-1,))[i]

        return tuple(
            engine.value_and_grad(lambda z, i=i: coordinate(z, i))(z)[1] for i in range(size)
        )

    run = engine.compile(jacobian)
    for z in _points(case, 5):
        J = np.reshape(run(z), (size, size))
        sign, expected = np.linalg.slogdet(J)
        actual = np.sum(case.transform.log_abs_det_jacobian(z))
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-10)
        assert sign != 0


@pytest.mark.parametrize("case", SCALARS, ids=lambda case: case.name)
def test_scalar_maps_are_strictly_monotone(case):
    steps = np.diff(case.transform.forward(np.linspace(-25.0, 8.0, 400)))
    assert np.all(steps > 0) or np.all(steps < 0)


# ----------------------------------------------------------- against the definitions


def test_stick_breaking_is_that_of_the_stan_manual():
    for z in np.random.default_rng(2).normal(size=(5, 4)):
        K, left, x, log_det = 5, 1.0, [], 0.0
        for k in range(1, K):
            share = 1.0 / (1.0 + np.exp(-(z[k - 1] + np.log(1.0 / (K - k)))))
            x.append(left * share)
            log_det += np.log(share * (1.0 - share) * left)
            left -= x[-1]
        np.testing.assert_allclose(StickBreaking().forward(z), [*x, left], rtol=1e-12)
        np.testing.assert_allclose(StickBreaking().log_abs_det_jacobian(z), log_det, rtol=1e-12)


def test_zero_is_the_uniform_simplex():
    np.testing.assert_allclose(StickBreaking().forward(np.zeros(6)), np.full(7, 1 / 7), rtol=1e-14)


def test_log_determinant_of_stick_breaking_is_the_sum_of_all_log_x():
    z = np.random.default_rng(3).normal(size=(10, 4))
    log_x = np.log(StickBreaking().forward(z))
    np.testing.assert_allclose(StickBreaking().log_abs_det_jacobian(z), log_x.sum(-1), rtol=1e-12)


def test_correlation_cholesky_is_that_of_the_stan_manual():
    for y in np.random.default_rng(4).normal(size=(5, 6)):
        L, log_det, entry = np.zeros((4, 4)), -2.0 * np.log(np.cosh(y)).sum(), iter(np.tanh(y))
        for i in range(4):
            for j in range(i):
                left = 1.0 - (L[i, :j] ** 2).sum()
                L[i, j] = next(entry) * np.sqrt(left)
                log_det += 0.5 * np.log(left)
            L[i, i] = np.sqrt(1.0 - (L[i, :i] ** 2).sum())
        transform = CorrelationCholeskyTransform()
        np.testing.assert_allclose(transform.forward(y), L, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(transform.log_abs_det_jacobian(y), log_det, rtol=1e-12)


def test_covariance_cholesky_is_filled_row_by_row():
    x = CovarianceCholeskyTransform().forward(np.array([0.0, 2.0, 1.0, 3.0, 4.0, -1.0]))
    e = np.e
    np.testing.assert_allclose(x, [[1.0, 0.0, 0.0], [2.0, e, 0.0], [3.0, 4.0, 1 / e]], rtol=1e-15)


def test_scalar_maps_have_their_closed_forms():
    z = np.linspace(-4.0, 4.0, 9)
    s = 1.0 / (1.0 + np.exp(-z))
    np.testing.assert_allclose(Exp().forward(z), np.exp(z))
    np.testing.assert_allclose(Softplus().forward(z), np.log1p(np.exp(z)))
    np.testing.assert_allclose(LowerBound(2.0).forward(z), 2.0 + np.exp(z))
    np.testing.assert_allclose(UpperBound(2.0).forward(z), 2.0 - np.exp(z))
    np.testing.assert_allclose(IntervalTransform(-1.0, 3.0).forward(z), -1.0 + 4.0 * s)
    np.testing.assert_allclose(
        OrderedTransform().forward(z[-3:]), np.cumsum([2.0, np.exp(3.0), np.exp(4.0)])
    )
    np.testing.assert_allclose(
        PositiveOrderedTransform().forward(z[-3:]), np.cumsum(np.exp([2.0, 3.0, 4.0]))
    )


def _normal(x: np.ndarray) -> np.ndarray:
    return np.sum(-0.5 * x**2 - 0.5 * np.log(2.0 * np.pi), axis=-1)


def _exponential(x: np.ndarray) -> np.ndarray:
    return -np.sum(x, axis=-1)


def _one(x: np.ndarray) -> np.ndarray:
    return np.zeros(x.shape[:-1])


# transform, its z's grid (from, to, step) on each of ... axes, log f on the free
# coordinates, and the integral of f over the support
LINE, PLANE, SPACE = (-20.0, 20.0, 0.05), (-20.0, 20.0, 0.2), (-12.0, 12.0, 0.4)
MEASURES = [
    (Exp(), LINE, 1, _exponential, 1.0),
    (Softplus(), LINE, 1, _exponential, 1.0),
    (LowerBound(-1.5), LINE, 1, _exponential, np.exp(1.5)),
    (UpperBound(2.0), LINE, 1, lambda x: _exponential(-x), np.exp(2.0)),
    (IntervalTransform(-0.3, 2.1), LINE, 1, _one, 2.4),
    (OrderedTransform(), PLANE, 2, _normal, 1 / 2),  # one of the two orders
    (PositiveOrderedTransform(), PLANE, 2, _exponential, 1 / 2),
    (StickBreaking(), PLANE, 2, _one, 1 / 2),  # the triangle x_1 + x_2 < 1
    (CorrelationCholeskyTransform(), SPACE, 3, _one, 2.0 * np.pi),  # an interval times a disc
    # Two half-lines and a line.
    (CovarianceCholeskyTransform(), (-16.0, 6.0, 0.25), 3, _normal, 1 / 4),
]


@pytest.mark.parametrize(
    ("transform", "grid", "dim", "log_f", "mass"), MEASURES, ids=lambda m: type(m).__name__
)
def test_change_of_measure(transform, grid, dim, log_f, mass):
    """The integral over z of f(T(z)) |det J(z)| is that of f over the whole support.

    So T is one to one and reaches all of it. The trapezium rule converges like
    exp(-2 pi d / step) for a function analytic within d of the line (d >= pi / 4 here),
    and the tails cut off hold less than 1e-6 of the mass.
    """
    low, high, step = grid
    axis = np.arange(low, high, step)
    z = np.stack(np.meshgrid(*[axis] * dim, indexing="ij"), axis=-1)
    if transform.unconstrained_event_ndim == 0:
        z = z[..., 0]
    x, log_det = transform.forward(z), transform.log_abs_det_jacobian(z)
    free = {
        StickBreaking: lambda x: x[..., :-1],
        CorrelationCholeskyTransform: _below(-1),
        CovarianceCholeskyTransform: _below(0),
    }.get(type(transform), _all if transform.event_ndim else lambda x: x[..., None])
    total = np.sum(np.exp(log_f(free(x)) + log_det)) * step**dim
    np.testing.assert_allclose(total, mass, rtol=1e-6)


# --------------------------------------------------------------------------- batches


@each_case
def test_batches_are_loops_over_rows(case):
    z = _points(case, 6).reshape(2, 3, *case.shape)
    for function in (case.transform.forward, case.transform.log_abs_det_jacobian):
        rows = np.array([[function(z[i, j]) for j in range(3)] for i in range(2)])
        np.testing.assert_allclose(function(z), rows, rtol=1e-14, atol=1e-15)
    x = case.transform.forward(z)
    rows = np.array([[case.transform.inverse(x[i, j]) for j in range(3)] for i in range(2)])
    np.testing.assert_allclose(case.transform.inverse(x), rows, rtol=1e-14, atol=1e-15)


@each_case
@pytest.mark.parametrize("batch", [(), (5,), (2, 3)])
def test_shapes_and_event_axes_are_those_of_the_arrays(case, batch):
    z = np.zeros((*batch, *case.shape))
    x = case.transform.forward(z)
    assert case.transform.constrained_shape(z.shape) == x.shape
    assert case.transform.unconstrained_shape(x.shape) == z.shape
    assert case.transform.unconstrained_event_ndim == len(case.shape)
    assert case.transform.event_ndim == case.support.event_ndim == x.ndim - len(batch)
    assert np.shape(case.transform.log_abs_det_jacobian(z)) == batch


# ----------------------------------------------------------------------- far-out values


def _far_out(case: Case) -> np.ndarray:
    """Rows of +-40 and +-700: all the same, one alone, and mixed."""
    size = int(np.prod(case.shape))
    rows = []
    for far in (37.5, 40.0, 700.0):
        rows += [np.full(size, far), np.full(size, -far)]
        rows += [sign * far * row for row in np.eye(size) for sign in (1.0, -1.0)]
        rows += [np.where(np.arange(size) % 2, far, -far), np.where(np.arange(size) % 2, -far, far)]
    return np.array(rows).reshape(-1, *case.shape)


# The identity has nothing to overflow.
FAR_OUT = [case for case in CASES if not isinstance(case.transform, Identity)]


@pytest.mark.parametrize("case", FAR_OUT, ids=lambda case: case.name)
def test_far_out_values_and_derivatives_are_finite(case, engine):
    """Values, gradients, and second derivatives (deterministic ADVI multiplies by them)."""
    size = int(np.prod(case.shape))
    weights = np.random.default_rng(6).normal(size=case.transform.constrained_shape(case.shape))

    def x_part(z: Any) -> Any:
        return (weights * case.transform.forward(z.reshape((-1, *case.shape)))).sum()

    def log_det_part(z: Any) -> Any:
        return case.transform.log_abs_det_jacobian(z.reshape((-1, *case.shape))).sum()

    def both(z: Any) -> Any:
        return x_part(z) + log_det_part(z)

    def evaluate(z: Any) -> tuple:
        return (
            case.transform.forward(z),
            case.transform.log_abs_det_jacobian(z),
            *engine.value_and_grad(x_part)(z.reshape((-1,))),
            *engine.value_and_grad(log_det_part)(z.reshape((-1,))),
        )

    z = _far_out(case)
    outputs = [*engine.compile(evaluate)(z), case.transform.forward(z)]
    outputs.append(case.transform.log_abs_det_jacobian(z))
    outputs.append(engine.hessian_vector_product(both)(z.reshape(-1))(np.ones(len(z) * size)))
    for output in outputs:
        assert np.all(np.isfinite(output))


@pytest.mark.parametrize("case", FAR_OUT, ids=lambda case: case.name)
def test_far_out_inverse_is_finite_or_refused(case):
    """Where rounding puts x on the boundary, `inverse` refuses it; it is never NaN."""
    for z in _far_out(case):
        x = case.transform.forward(z)
        try:
            back = case.transform.inverse(x)
        except ValueError as error:
            assert "on its boundary" in str(error)  # noqa: PT017 (either outcome is right)
        else:
            assert np.all(np.isfinite(back))


@pytest.mark.parametrize(
    ("transform", "z"),
    [
        (Exp(), [-700.0, -40.0, 40.0, 700.0]),
        (Softplus(), [-700.0, -40.0, 40.0, 1e4]),
        (LowerBound(0.0), [-700.0, 700.0]),
        (LowerBound(1.0), [-20.0, 700.0]),
        (UpperBound(0.0), [-700.0, 700.0]),
        (IntervalTransform(0.0, 1.0), [-700.0, -40.0, 20.0]),
        (OrderedTransform(), [-5.0, -10.0, 40.0, 700.0]),
        (OrderedTransform(), [1e4, 5.0]),  # e^{1e4} is never formed
        (PositiveOrderedTransform(), [-700.0, -690.0, 40.0, 700.0]),
        (StickBreaking(), [-40.0, -300.0, 5.0]),
        (StickBreaking(), [30.0, -30.0, 200.0]),
        (CorrelationCholeskyTransform(), [40.0, -40.0, 100.0]),
        (CovarianceCholeskyTransform(), [-700.0, 1e300, 700.0]),
    ],
)
def test_far_out_round_trips_where_float64_allows(transform, z):
    z = np.array(z)
    atol = 1e-7 if np.any(z == 20.0) or np.any(z == -20.0) else 1e-10  # 1 - s(20) has 7 digits
    np.testing.assert_allclose(transform.inverse(transform.forward(z)), z, rtol=1e-12, atol=atol)


def test_an_interval_is_never_left_by_rounding():
    rng = np.random.default_rng(5)
    lower = np.round(rng.normal(size=5_000), 1)
    upper = lower + np.round(rng.exponential(size=5_000), 1) + 0.1
    transform = IntervalTransform(lower, upper)
    for z in (-700.0, -38.0, 36.0, 37.0, 38.0, 700.0):
        assert np.all(
            supports.Interval(lower, upper).contains(transform.forward(np.full(5_000, z)))
        )
    # Without care some would leave it: the sum rounds to beyond the upper bound.
    assert np.any(lower + (upper - lower) > upper)


# ------------------------------------------------------------------ bounds from latents


def test_bounds_may_depend_on_other_latents(engine):
    """Derivatives with respect to traced bounds, against those by hand."""

    def value(latents: dict) -> Any:
        a, b, z = latents["a"], latents["b"], latents["z"]
        total = 0.0
        for weight, transform in (
            (1.0, LowerBound(a)),
            (10.0, UpperBound(b)),
            (100.0, IntervalTransform(a, b)),
        ):
            total = total + weight * transform.forward(z)
            total = total + 1000.0 * weight * transform.log_abs_det_jacobian(z)
        return total

    a, b, z = -0.4, 1.3, 0.7
    s = 1.0 / (1.0 + np.exp(-z))
    _, gradient = engine.compile(engine.value_and_grad(value))({"a": a, "b": b, "z": z})
    expected = {
        "a": 1.0 + 100.0 * (1.0 - s) - 100_000.0 / (b - a),
        "b": 10.0 + 100.0 * s + 100_000.0 / (b - a),
        "z": np.exp(z)
        - 10.0 * np.exp(z)
        + 100.0 * (b - a) * s * (1.0 - s)
        + 11_000.0
        + 100_000.0 * (1.0 - 2.0 * s),
    }
    for name, derivative in expected.items():
        np.testing.assert_allclose(gradient[name], derivative, rtol=1e-12)


def test_bounds_broadcast_against_batches():
    lower, upper = np.array([-1.0, 0.0, 5.0]), np.array([1.0, 0.5, 50.0])
    z = np.random.default_rng(9).normal(size=(4, 3))
    for wide, narrow in (
        (LowerBound(lower), [LowerBound(a) for a in lower]),
        (UpperBound(upper), [UpperBound(b) for b in upper]),
        (
            IntervalTransform(lower, upper),
            [IntervalTransform(a, b) for a, b in zip(lower, upper, strict=True)],
        ),
    ):
        for function in ("forward", "log_abs_det_jacobian"):
            columns = [getattr(one, function)(z[:, k]) for k, one in enumerate(narrow)]
            np.testing.assert_allclose(getattr(wide, function)(z), np.stack(columns, axis=1))
        np.testing.assert_allclose(wide.inverse(wide.forward(z)), z, rtol=1e-10, atol=1e-10)


# ----------------------------------------------------------------------------- refusals

OUTSIDE = [
    (Identity(), [np.nan, np.inf]),
    (Exp(), [0.0, -1.0, np.nan, np.inf]),
    (Softplus(), [0.0, -1.0, np.nan, np.inf]),
    (LowerBound(2.0), [2.0, 1.0, np.nan, np.inf]),
    (UpperBound(2.0), [2.0, 3.0, np.nan, -np.inf]),
    (IntervalTransform(-1.0, 2.0), [-1.0, 2.0, -3.0, 3.0, np.nan]),
    (OrderedTransform(), [[1.0, 1.0], [2.0, 1.0], [np.nan, 1.0], [0.0, np.inf]]),
    (PositiveOrderedTransform(), [[0.0, 1.0], [-1.0, 1.0], [2.0, 1.0]]),
    (StickBreaking(), [[1.0, 0.0], [0.5, 0.6], [-0.5, 1.5], [np.nan, 1.0]]),
    (
        CorrelationCholeskyTransform(),
        [[[1.0, 0.0], [0.5, 0.5]], [[1.0, 0.0], [1.0, 0.0]], [[0.6, 0.8], [0.6, 0.8]]],
    ),
    (
        CovarianceCholeskyTransform(),
        [[[1.0, 0.0], [0.5, 0.0]], [[-1.0, 0.0], [0.5, 1.0]], [[1.0, 0.1], [0.5, 1.0]]],
    ),
]


@pytest.mark.parametrize(
    ("transform", "x"),
    [(transform, x) for transform, values in OUTSIDE for x in values],
    ids=lambda p: type(p).__name__ if hasattr(p, "forward") else str(p),
)
def test_inverse_refuses_what_lies_outside(transform, x):
    with pytest.raises(ValueError, match="1 of 1 values lie outside what"):
        transform.inverse(np.array(x))


def test_inverse_counts_the_values_outside():
    with pytest.raises(ValueError, match=r"x: 2 of 4 values lie outside what Exp\(\)"):
        Exp().inverse(np.array([1.0, -1.0, 2.0, 0.0]))


def test_within_an_engine_inverse_reads_no_values(engine):
    with np.errstate(divide="ignore"):
        z = engine.compile(IntervalTransform(0.0, 1.0).inverse)(np.array([0.25, 1.0]))
    np.testing.assert_allclose(z, [np.log(0.25 / 0.75), np.inf])


def test_shapes_that_cannot_be():
    with pytest.raises(ValueError, match="fewer than the 1 axes"):
        StickBreaking().unconstrained_shape(())
    with pytest.raises(ValueError, match="a simplex of 1 entries"):
        StickBreaking().unconstrained_shape((4, 1))
    for transform in (CorrelationCholeskyTransform(), CovarianceCholeskyTransform()):
        with pytest.raises(ValueError, match="square matrix"):
            transform.unconstrained_shape((2, 3))
        with pytest.raises(ValueError, match="4 entries fill no triangle"):
            transform.constrained_shape((4,))


def test_a_correlation_of_one_variable_has_no_latents():
    transform = CorrelationCholeskyTransform()
    assert transform.unconstrained_shape((1, 1)) == (0,)
    np.testing.assert_array_equal(transform.forward(np.zeros((5, 0))), np.ones((5, 1, 1)))
    np.testing.assert_array_equal(transform.log_abs_det_jacobian(np.zeros((5, 0))), np.zeros(5))


# ------------------------------------------------------------------------ the look-up

LOOK_UP = {
    supports.Real(): Identity(),
    supports.RealVector(): Identity(event_ndim=1),
    supports.Positive(): Exp(),
    supports.NonNegative(): Exp(),
    supports.GreaterThan(1.0): LowerBound(1.0),
    supports.LessThan(2.0): UpperBound(2.0),
    supports.Interval(-1.0, 2.0): IntervalTransform(-1.0, 2.0),
    supports.Simplex(): StickBreaking(),
    supports.Ordered(): OrderedTransform(),
    supports.PositiveOrdered(): PositiveOrderedTransform(),
    supports.CorrelationCholesky(): CorrelationCholeskyTransform(),
    supports.CovarianceCholesky(): CovarianceCholeskyTransform(),
}


@pytest.mark.parametrize(("support", "transform"), LOOK_UP.items(), ids=repr)
def test_to_support(support, transform):
    assert to_support(support) == transform
    assert to_support(support).event_ndim == support.event_ndim


def test_discrete_supports_are_refused():
    for support in (
        supports.Boolean(),
        supports.IntegerInterval(0, 3),
        supports.NonNegativeInteger(),
    ):
        with pytest.raises(ValueError, match=r"discrete.*marginalise"):
            to_support(support)


def test_an_unknown_support_is_refused():
    with pytest.raises(TypeError, match="no transform onto 'the circle'"):
        to_support("the circle")
