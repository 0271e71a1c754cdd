"""`Fit`: draws, moments, tables, and the way to disk and back."""

import numpy as onp
import pytest

import vi_lab as vl
from vi_lab.families import MeanFieldGaussian
from vi_lab.results.storage import load_arrays, save_arrays


def program(m, x):
    m.sample("mu", vl.Normal(0.0, 1.0), shape=(2,))
    sd = m.sample("sd", vl.HalfNormal(1.0))
    m.deterministic("variance", sd**2)
    m.observe("x", vl.Normal(0.0, sd), x)


MODEL = vl.Model(program, x=onp.array([0.5, -1.0, 2.0]))
LOC, LOG_SCALE = onp.array([1.0, -1.0, 0.2]), onp.log([0.5, 2.0, 0.1])


@pytest.fixture
def fit():
    return vl.Fit(
        model=MODEL,
        family=MeanFieldGaussian(),
        params={"loc": LOC, "log_scale": LOG_SCALE},
        losses=onp.arange(5.0),
        engine="autograd",
        seed=3,
    )


def test_variational_parameters_by_latent(fit):
    onp.testing.assert_allclose(fit.unconstrained_mean["mu"], [1.0, -1.0])
    assert fit.unconstrained_mean["sd"] == 0.2
    onp.testing.assert_allclose(fit.unconstrained_std["mu"], [0.5, 2.0])
    onp.testing.assert_allclose(onp.diag(fit.unconstrained_covariance), [0.25, 4.0, 0.01])


def test_draws_are_in_the_models_units(fit):
    """Means within 4.5 standard errors in 4 comparisons: one false alarm in 37,000."""
    draws = fit.sample(20_000, seed=1)
    assert draws["mu"].shape == (20_000, 2)
    assert (draws["sd"] > 0).all()
    onp.testing.assert_allclose(draws["variance"], draws["sd"] ** 2, rtol=1e-12)
    z = onp.column_stack([draws["mu"], onp.log(draws["sd"])])
    assert (onp.abs(z.mean(axis=0) - LOC) < 4.5 * onp.exp(LOG_SCALE) / 20_000**0.5).all()
    log_normal_mean = onp.exp(0.2 + 0.005)
    assert abs(draws["sd"].mean() - log_normal_mean) < 4.5 * 0.13 / 20_000**0.5
    assert (fit.sample(10, seed=1)["sd"] == fit.sample(10, seed=1)["sd"]).all()
    assert (fit.sample(10, seed=2)["sd"] != fit.sample(10, seed=1)["sd"]).all()
    with pytest.raises(ValueError, match="num_draws"):
        fit.sample(0, seed=1)


def test_moments_and_summary_agree_with_draws(fit):
    draws = fit.sample(10_000, seed=3)
    onp.testing.assert_allclose(fit.mean["mu"], draws["mu"].mean(axis=0))
    onp.testing.assert_allclose(fit.std["sd"], draws["sd"].std(ddof=1))
    text = str(fit.summary(2_000, seed=1))
    assert "mu[1]" in text
    assert "variance" in text
    assert "r_hat" not in text


def test_elbo_is_the_mean_log_weight(fit):
    estimate = fit.elbo(500, seed=5)
    z = fit.sample_unconstrained(500, seed=5)
    weights = MODEL.log_density(z, engine="autograd") - fit.family.log_density(fit.params, z)
    assert estimate.value == pytest.approx(weights.mean(), rel=1e-12)
    assert estimate.mcse == pytest.approx(weights.std(ddof=1) / 500**0.5, rel=1e-12)
    with pytest.raises(ValueError, match="num_draws"):
        fit.elbo(1)


def test_saved_and_loaded(fit, tmp_path):
    path = tmp_path / "fit.npz"
    fit.save(path)
    loaded = vl.Fit.load(path, MODEL)
    assert loaded.family == fit.family
    assert loaded.engine == "autograd"
    assert loaded.seed == 3
    assert (loaded.losses == fit.losses).all()
    assert (loaded.sample(5, seed=1)["mu"] == fit.sample(5, seed=1)["mu"]).all()
    other = vl.Target(lambda z: z[..., 0], dim=1)
    with pytest.raises(ValueError, match="was saved from"):
        vl.Fit.load(path, other)


def test_an_interrupted_save_leaves_the_old_file(fit, tmp_path, monkeypatch):
    path = tmp_path / "fit.npz"
    fit.save(path)
    before = path.read_bytes()

    def fail(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("numpy.savez", fail)
    with pytest.raises(KeyboardInterrupt):
        save_arrays(path, a=onp.zeros(3))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_no_fit_is_named(fit, tmp_path):
    path = tmp_path / "fit.npz"
    fit.save(path)
    whole = path.read_bytes()
    for damaged in (b"", b"text", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"path: .*fit.npz is damaged, or is not a file"):
            vl.Fit.load(path, MODEL)
    save_arrays(path, latents=["mu"], dim=1, z=onp.zeros((2, 3, 1)))
    with pytest.raises(ValueError, match=r"holds another kind of result: it has no .*'losses'"):
        vl.Fit.load(path, MODEL)
    with pytest.raises(FileNotFoundError):
        vl.Fit.load(tmp_path / "nowhere.npz", MODEL)


def test_a_file_whose_parameters_are_no_q_here_is_refused(fit, tmp_path):
    path = tmp_path / "fit.npz"
    fit.save(path)
    saved = load_arrays(path)
    without = {name: value for name, value in saved.items() if name != "params.log_scale"}
    for damaged in (
        without,
        {**saved, "params.loc": onp.zeros(2)},
        {**saved, "params.loc": onp.array(["a", "b", "c"])},
        {**saved, "params.lower": onp.eye(3)},
        {**saved, "family.name": "full_rank"},
    ):
        save_arrays(path, **damaged)
        with pytest.raises(ValueError, match=r"^path: .* must hold numbers of the shapes"):
            vl.Fit.load(path, MODEL)
    for unknown in ("family.rank", "convergence.gap"):
        save_arrays(path, **{**saved, unknown: 3})
        with pytest.raises(ValueError, match=r"^path: .* another version of this library"):
            vl.Fit.load(path, MODEL)


def test_where_nothing_can_be_loaded_from(fit, tmp_path):
    with pytest.raises(vl.ViLabError, match=r"^path: there is no file") as caught:
        vl.Fit.load(tmp_path / "nowhere.npz", MODEL)
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(ValueError, match=r"^path: .* is a folder"):
        vl.Fit.load(tmp_path, MODEL)
    fit.save(tmp_path / "fit.npz")
    with pytest.raises(TypeError, match=r"^model: 'MODEL' has no method"):
        vl.Fit.load(tmp_path / "fit.npz", "MODEL")


def test_where_a_fit_cannot_be_saved(fit, tmp_path):
    with pytest.raises(ValueError, match="path: there is no folder"):
        fit.save(tmp_path / "nowhere" / "fit.npz")
    with pytest.raises(ValueError, match=r"path: .* is a folder"):
        fit.save(tmp_path)


def test_a_saved_file_has_the_permissions_of_any_other_and_a_link_stays_one(fit, tmp_path):
    path, link = tmp_path / "fit.npz", tmp_path / "link.npz"
    (tmp_path / "other").touch()
    link.symlink_to(path)
    fit.save(link)
    assert link.is_symlink()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode
    path.chmod(0o640)
    fit.save(path)
    assert path.stat().st_mode & 0o777 == 0o640


SCALE = 1.0


def scaled(m, x, k=1):
    mu = m.sample("mu", vl.Normal(0.0, SCALE))
    m.observe("x", vl.Normal(k * mu, 1.0), x)


def elsewhere(m, x, k=1):
    mu = m.sample("mu", vl.Normal(0.0, SCALE))
    m.observe("x", vl.Cauchy(k * mu, 1.0), x)


@pytest.mark.parametrize("door", ["advi", "nuts"])
@pytest.mark.filterwarnings("ignore::vi_lab.errors.ConvergenceWarning")
def test_a_result_is_not_loaded_for_another_posterior(door, tmp_path, monkeypatch):
    path, x = tmp_path / "result.npz", onp.array([1.0, 2.0])
    if door == "advi":
        result = vl.advi(vl.Model(scaled, x=x), seed=1, progress=False)
    else:
        result = vl.nuts(vl.Model(scaled, x=x), chains=1, draws=20, tune=20, progress=False)
    result.save(path)
    load = type(result).load
    assert load(path, vl.Model(scaled, x=x.copy())).seed == result.seed
    others = {
        "data x": lambda: vl.Model(scaled, x=x + 1e-9),
        "program": lambda: vl.Model(elsewhere, x=x),
        r"data k \(not there\)": lambda: vl.Model(scaled, x=x, k=1),
    }
    for what, make in others.items():
        with pytest.raises(ValueError, match=f"model: is not the one .* differ: {what}.* anew"):
            load(path, make())
    monkeypatch.setitem(globals(), "SCALE", 2.0)
    with pytest.raises(ValueError, match="differ: captured SCALE"):
        load(path, vl.Model(scaled, x=x))


def test_a_fit_is_no_start_for_other_latents_of_as_many_numbers():
    def other(m):
        m.sample("nu", vl.Normal(0.0, 1.0), shape=(2,))
        m.sample("sd", vl.HalfNormal(1.0))

    fit = vl.advi(MODEL, seed=1, progress=False)
    vl.advi(vl.Model(program, x=onp.array([0.1, 0.2])), seed=1, init=fit, progress=False)
    with pytest.raises(ValueError, match=r"init: is a fit of the latents .*'mu'.*'nu'"):
        vl.advi(vl.Model(other), seed=1, init=fit, progress=False)
