"""Files as they were written before they held the identity of their model.

``earlier/`` has three of the model below, from commit 7120b36, on autograd: ``fit.npz``, 200
steps of `Adam(0.05)` with seed 1; ``checkpoint.npz``, of the same fit; ``nuts.npz``, two chains
of 20 draws with seed 1.
"""

import shutil
from pathlib import Path

import numpy as onp
import pytest

import vi_lab as vl
from vi_lab.optimizers import Adam

EARLIER = Path(__file__).parent / "earlier"


def gaussian(m, x):
    mu = m.sample("mu", vl.Normal(0.0, 1.0))
    sd = m.sample("sd", vl.HalfNormal(1.0))
    m.observe("x", vl.Normal(mu, sd), x)


MODEL = vl.Model(gaussian, x=[0.2, -1.1, 0.7])


def test_a_fit_opens_and_is_what_it_was(tmp_path):
    fit = vl.Fit.load(EARLIER / "fit.npz", MODEL)
    onp.testing.assert_allclose(fit.params["loc"], [-0.11640836, -0.06169922], atol=1e-8)
    onp.testing.assert_allclose(fit.sample(3, seed=1)["mu"], [0.035428, 0.028773, 0.28137], 1e-4)
    fit.save(tmp_path / "again.npz")
    again = vl.Fit.load(tmp_path / "again.npz", MODEL)
    onp.testing.assert_array_equal(again.params["loc"], fit.params["loc"])


def test_chains_open_and_are_what_they_were():
    chains = vl.NutsResult.load(EARLIER / "nuts.npz", MODEL)
    assert chains.draws["mu"].shape == (2, 20)
    assert chains.draws["mu"].mean() == pytest.approx(-0.18545742, abs=1e-8)
    assert "r_hat" in chains.summary().columns


def test_a_checkpoint_says_what_to_do_and_stays_as_it_is(tmp_path):
    path = Path(shutil.copy(EARLIER / "checkpoint.npz", tmp_path))
    with pytest.raises(ValueError, match=r"one of an earlier release.* give another path, or del"):
        vl.advi(MODEL, optimizer=Adam(0.05), steps=400, seed=1, progress=False, checkpoint=path)
    assert path.read_bytes() == (EARLIER / "checkpoint.npz").read_bytes()
