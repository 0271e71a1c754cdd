"""The leapfrog, the U-turn criterion, and one transition of NUTS: mostly exact tests."""

import itertools
from dataclasses import dataclass

import numpy as onp
import pytest

import vi_lab.numpy as np
from vi_lab.engine import current
from vi_lab.nuts import iterative, recursive
from vi_lab.nuts.hamiltonian import Hamiltonian, Point
from vi_lab.nuts.trajectory import Candidate, Noise, Span, bias, is_turning, share

# ------------------------------------------------------------------ targets

PLAIN = {"tilt": 0.0, "bend": 0.0, "neck": 0.0, "wall": 0.0}


def density(z, shape):
    """Gaussian and correlated; with a bend a banana, with a neck a funnel, with a wall at 0.

    Long steps diverge in a neck; behind the wall the log density is NaN.
    """
    across = (z[1] - shape["tilt"] * z[0] - shape["bend"] * z[0] ** 2) * np.exp(
        -shape["neck"] * z[0] / 2
    )
    wall = np.log(1.0 - shape["wall"] + shape["wall"] * z[0]) - shape["wall"] * z[0]
    return -0.5 * (0.25 * z[0] ** 2 + across**2 + 9.0 * z[2] ** 2) - shape["neck"] * z[0] / 2 + wall


BANANA = {**PLAIN, "bend": 1.0}


def value_and_grad(z, shape):
    return current().value_and_grad(density)(z, shape)


def evaluator(engine, shape):
    """z -> (log density, gradient), from plain Python."""
    run = engine.compile(value_and_grad)
    return lambda z: run(z, shape)


def noise_for(rng, dim, max_depth=10):
    uniforms = rng.random((3, max_depth))
    return Noise(rng.standard_normal(dim), *uniforms)


# ----------------------------------------------------------------- leapfrog


def follow(hamiltonian, point, momentum, step_size, steps):
    for _ in range(steps):
        point, momentum = hamiltonian.leapfrog(point, momentum, step_size)
    return point, momentum


def test_leapfrog_runs_backwards(engine):
    hamiltonian = Hamiltonian(evaluator(engine, BANANA), onp.array([0.5, 2.0, 0.1]))
    start, momentum = hamiltonian.point(onp.array([0.4, -0.7, 0.1])), onp.array([1.0, 0.3, 0.2])
    end = follow(hamiltonian, start, momentum, 0.05, 40)
    assert abs(end[0].z - start.z).max() > 0.5
    back = follow(hamiltonian, *end, -0.05, 40)
    onp.testing.assert_allclose(back[0].z, start.z, atol=1e-12)
    onp.testing.assert_allclose(back[1], momentum, atol=1e-12)


def test_leapfrog_error_falls_with_the_square_of_the_step(engine):
    hamiltonian = Hamiltonian(evaluator(engine, BANANA), onp.array([0.5, 2.0, 0.1]))
    start, momentum = hamiltonian.point(onp.array([0.4, -0.7, 0.1])), onp.array([1.0, 0.3, 0.2])
    energy = hamiltonian.energy(start, momentum)

    def error(steps):
        return (
            hamiltonian.energy(*follow(hamiltonian, start, momentum, 1.0 / steps, steps)) - energy
        )

    assert error(100) / error(200) == pytest.approx(4.0, rel=0.01)


def test_leapfrog_keeps_volume_and_is_not_the_identity():
    """On a Gaussian a step is linear: its matrix, from the unit vectors, has determinant 1."""
    precision = onp.array([[2.0, 0.6], [0.6, 1.0]])
    hamiltonian = Hamiltonian(
        lambda z: (-0.5 * z @ precision @ z, -precision @ z), onp.array([0.7, 1.9])
    )
    columns = []
    for unit in onp.eye(4):
        point, momentum = hamiltonian.leapfrog(hamiltonian.point(unit[:2]), unit[2:], 0.6)
        columns.append(onp.concatenate([point.z, momentum]))
    assert onp.linalg.det(columns) == pytest.approx(1.0, abs=1e-14)
    assert abs(onp.array(columns) - onp.eye(4)).max() > 0.3


def test_momentum_and_energy_use_the_metric():
    inverse = onp.array([0.25, 4.0])
    hamiltonian = Hamiltonian(lambda z: (-1.5, z), inverse)
    momentum = hamiltonian.momentum(onp.array([1.0, 1.0]))
    onp.testing.assert_allclose(momentum, [2.0, 0.5])  # sd of p is that of N(0, M)
    energy = hamiltonian.energy(Point(onp.zeros(2), -1.5, None), momentum)
    assert energy == pytest.approx(1.5 + 0.5 * (0.25 * 4.0 + 4.0 * 0.25))


# ------------------------------------------------------------------- U-turn


def span(*momenta):
    momenta = onp.array(momenta, dtype=float)
    return Span(momenta[0], momenta[-1], momenta.sum(axis=0), 0.0, None)


STRAIGHT = span([1, 0], [1, 0.1])
SEAM = (
    span([1, 0], [1, 0]),
    span([-3, 1], [9, 0]),
)  # as a whole it goes on; where it is joined, no


@pytest.mark.parametrize(
    ("a", "b", "metric", "turning"),
    [
        (STRAIGHT, span([1, 0.2], [1, 0.3]), [1, 1], False),
        (STRAIGHT, span([-0.5, 0], [-2, 0]), [1, 1], True),
        (*SEAM, [1, 1], True),
        (span([9, 0], [-3, 1]), span([1, 0], [1, 0]), [1, 1], True),
        # the displacement in one coordinate outweighs the other's turn, or not
        (span([1, 1]), span([-0.5, 1]), [1, 1], False),
        (span([1, 1]), span([-0.5, 1]), [9, 0.1], True),
    ],
)
def test_u_turn(a, b, metric, turning):
    hamiltonian = Hamiltonian(lambda z: (0.0, z), onp.array(metric, dtype=float))
    assert bool(is_turning(hamiltonian, a, b)) is turning

    def mirrored(s):
        return s._replace(first=s.last, last=s.first)

    assert bool(is_turning(hamiltonian, mirrored(b), mirrored(a))) is turning


def test_the_seam_is_what_makes_the_seam_case_turn():
    a, b = SEAM
    rho = a.rho + b.rho
    assert a.first @ rho > 0 and b.last @ rho > 0  # noqa: PT018


# ------------------------------------- recursion against iteration, same noise


def one_transition(inverse_mass_matrix, step_size, start, noise, shape):
    hamiltonian = Hamiltonian(lambda z: value_and_grad(z, shape), inverse_mass_matrix)
    return iterative.transition(hamiltonian, step_size, start, noise)


def deep(records):
    return max(r.depth for r in records) >= 4


def stops_inside_a_subtree(records):
    return any(r.n_leapfrog + 1 < 2 ** (r.depth + 1) and not r.diverging for r in records)


def meets_the_limit(records):
    return any((r.depth, r.n_leapfrog) == (2, 3) for r in records)


def diverges_at_times(records):
    diverging = [r.diverging for r in records]
    return any(diverging) and not all(diverging)


def weighs_its_leaves(records):
    return any(r.acceptance < 0.3 and r.depth >= 2 for r in records)


CASES = {
    "gaussian": (PLAIN | {"tilt": 0.8}, 0.12, 10, deep),
    "long steps": (PLAIN | {"tilt": 0.8}, 0.5, 10, stops_inside_a_subtree),
    "coarse steps": (PLAIN | {"tilt": 0.8}, 1.4, 10, weighs_its_leaves),
    "two doublings": (PLAIN, 0.06, 2, meets_the_limit),
    "banana": (BANANA, 0.3, 10, stops_inside_a_subtree),
    "funnel": (PLAIN | {"neck": 2.0}, 1.2, 10, diverges_at_times),
    "wall": (PLAIN | {"wall": 1.0}, 0.9, 10, diverges_at_times),
}


@pytest.mark.parametrize("case", CASES)
def test_iteration_is_recursion(engine, case):
    shape, step_size, max_depth, remarkable = CASES[case]
    rng = onp.random.default_rng(7)
    inverse = onp.array([0.9, 0.5, 0.2])
    hamiltonian = Hamiltonian(evaluator(engine, shape), inverse)
    run = engine.compile(one_transition)
    start = hamiltonian.point(onp.array([0.3, 0.8, -0.2]))
    records = []
    for _ in range(12):
        noise = noise_for(rng, 3, max_depth)
        expected, reference = recursive.transition(hamiltonian, step_size, start, noise)
        with onp.errstate(all="ignore"):
            point, record = run(inverse, step_size, start, noise, shape)
        for found, wanted in zip((*point, *record), (*expected, *reference), strict=True):
            onp.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-10)
        assert (record.depth, record.n_leapfrog) == (reference.depth, reference.n_leapfrog)
        start = expected
        records.append(reference)
    assert remarkable(records)  # the case shows what it is there for


# ------------------------------------------------- the draw, exactly enumerated


@dataclass(frozen=True)
class Ring:
    """Dynamics on M points of a ring: a leapfrog step is a step to a neighbour.

    Weights and momenta are tables. What NUTS does here can be enumerated without error.
    """

    weights: onp.ndarray
    momenta: onp.ndarray

    def energy(self, point, momentum):
        return -onp.log(self.weights[point.z])

    def momentum(self, normal):
        return normal

    def velocity(self, momentum):
        return momentum

    def leapfrog(self, point, momentum, step_size):
        z = (point.z + int(step_size)) % len(self.weights)
        return Point(z, None, None), self.momenta[z][None]


def cells(thresholds):
    """Midpoints and lengths of the intervals into which thresholds cut (0, 1)."""
    cuts = onp.unique(onp.clip(list(thresholds), 0.0, 1.0))
    return list(zip((cuts[1:] + cuts[:-1]) / 2, onp.diff(cuts), strict=True))


RNG = onp.random.default_rng(11)
EVEN = Ring(RNG.uniform(0.2, 3.0, 9), onp.ones(9))
TURNING = Ring(RNG.uniform(0.2, 3.0, 12), onp.cos(2 * onp.pi * onp.arange(12) / 12) + 0.3)


def test_a_subtree_gives_each_leaf_its_share():
    """With one uniform a level: exactly proportional to the weights."""
    w, depth = EVEN.weights[1:9], 3
    thresholds = [
        [w[i + h : i + 2 * h].sum() / w[i : i + 2 * h].sum() for i in range(0, 8, 2 * h)]
        for h in (1, 2, 4)
    ]
    found = onp.zeros(9)
    for combination in itertools.product(*(cells({0.0, 1.0, *shares}) for shares in thresholds)):
        within, lengths = zip(*combination, strict=True)
        noise = Noise(None, None, within, None)
        tree = recursive.build_tree(EVEN, 0.0, 1, noise, depth, Point(0, None, None), onp.ones(1))
        found[tree.span.candidate.point.z] += onp.prod(lengths)
    onp.testing.assert_allclose(found[1:9], w / w.sum(), rtol=1e-12)


class Cut:
    """A uniform that does not know its value yet: it notes what it is compared with."""

    def __init__(self):
        self.thresholds = {0.0, 1.0}

    def __lt__(self, threshold):
        self.thresholds.add(float(threshold))
        return False


def kernel(ring, max_depth=3):
    """P(start -> next) of a transition, by enumeration of all that its noise can do."""
    size = len(ring.weights)
    probabilities = onp.zeros((size, size))
    for start in range(size):
        point, momentum = Point(start, None, None), ring.momenta[start][None]
        for signs in itertools.product((0.25, 0.75), repeat=max_depth):
            cuts = [Cut() for _ in range(2 * max_depth)]
            noise = Noise(momentum, signs, cuts[:max_depth], cuts[max_depth:])
            recursive.transition(ring, 1, point, noise)
            for combination in itertools.product(*(cells(cut.thresholds) for cut in cuts)):
                u, lengths = zip(*combination, strict=True)
                noise = Noise(momentum, signs, u[:max_depth], u[max_depth:])
                end, _ = recursive.transition(ring, 1, point, noise)
                probabilities[start, end.z] += onp.prod(lengths) / 2**max_depth
    return probabilities


@pytest.mark.parametrize("ring", [EVEN, TURNING], ids=["even", "turning"])
def test_a_transition_leaves_the_target_invariant(ring):
    """pi P = pi to rounding, U-turns and all: no sampling error, no tolerance to choose."""
    target = ring.weights / ring.weights.sum()
    P = kernel(ring)
    onp.testing.assert_allclose(P.sum(axis=1), 1.0, rtol=1e-12)
    onp.testing.assert_allclose(target @ P, target, rtol=1e-12)
    assert P.diagonal().max() < 0.5  # it moves


def turn_of_the_whole_only(hamiltonian, a, b):
    rho = a.rho + b.rho
    return a.first @ rho <= 0 or (b.last @ rho <= 0 and a.rho[0] < 0)


@pytest.mark.parametrize(
    ("ring", "name", "wrong"),
    [
        (EVEN, "share", lambda a, b: 0.5),  # leaves chosen without their weights
        (EVEN, "bias", lambda a, b: 1.0),  # the new half always taken
        (TURNING, "is_turning", turn_of_the_whole_only),  # not the same read backwards
    ],
    ids=["no weights", "no bias", "lopsided turn"],
)
def test_a_wrong_transition_is_noticed(ring, name, wrong, monkeypatch):
    monkeypatch.setattr(recursive, name, wrong)
    P = kernel(ring)
    target = ring.weights / ring.weights.sum()
    assert abs(target @ P - target).max() > 1e-3


def test_shares_and_biases():
    a, b = (
        span([1.0])._replace(log_weight=w, candidate=Candidate(None, None)) for w in (0.0, -1.0)
    )
    assert share(a, b) == pytest.approx(onp.exp(-1) / (1 + onp.exp(-1)))
    assert bias(a, b) == pytest.approx(onp.exp(-1))
