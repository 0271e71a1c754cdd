"""The default fit on real posteriors: as good as a Gaussian can be, and honest where it is not.

How far the best Gaussian of a family is from a posterior is known (`ZooEntry.baseline`),
to about 0.03 in z and in sd ratios. A default fit has to come within 0.1 of its largest
z and 10% of its smallest sd ratio. Both are taken from 20,000 draws of q, which adds 0.01
to a z and 0.5% to an sd ratio (2% for the heavy tail of eight schools' tau).

`irt_2pl`, with 144 dimensions, takes half a minute: `python -m benchmarks.posteriors` has it.
"""

import pytest

import vi_lab as vl
from benchmarks.posteriors import default_fit
from vi_lab import zoo

pytestmark = pytest.mark.slow

LEFT_OUT = (zoo.irt_2pl,)
MAKERS = [make for make in zoo.ALL if make().baseline and make not in LEFT_OUT]
CASES = [(make, family) for make in MAKERS for family in make().baseline]
IDS = [f"{make.__name__}-{family}" for make, family in CASES]


@pytest.mark.parametrize(("make", "family"), CASES, ids=IDS)
def test_the_default_fit_reaches_what_its_family_can(make, family):
    pytest.importorskip("jax")
    outcome = default_fit(make(), family)
    assert outcome.reached, outcome.cells()
    verdict = outcome.fit.convergence
    assert verdict.converged, verdict
    assert verdict.gap < verdict.tolerance


STARVED = [
    (zoo.kidiq_interaction, "mean_field", 6),
    (zoo.eight_schools_noncentered, "full_rank", 10),
    (zoo.sblrc, "full_rank", 6),
    (zoo.garch, "mean_field", 6),
    (zoo.hmm, "full_rank", 6),
]


@pytest.mark.parametrize(
    ("make", "family", "steps"),
    STARVED,
    ids=[f"{make.__name__}-{family}" for make, family, _ in STARVED],
)
def test_a_starved_fit_says_so_and_is_right(make, family, steps):
    """The ELBO that it lacks is more than the tolerance, by four standard errors."""
    pytest.importorskip("jax")
    model = make().model()
    with pytest.warns(vl.ConvergenceWarning, match="NOT CONVERGED: the steps ran out"):
        starved = vl.advi(model, family, steps=steps, seed=0, engine="jax", progress=False)
    assert not starved.convergence.converged
    long = vl.advi(model, family, seed=0, engine="jax", progress=False)
    best, reached = (fit.elbo(50_000, seed=1) for fit in (long, starved))
    gap, error = best.value - reached.value, best.mcse + reached.mcse
    assert gap > starved.convergence.tolerance + 4.0 * error
