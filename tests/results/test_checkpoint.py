"""A fit that was stopped and goes on from its file is the fit that was never stopped."""

import numpy as onp
import pytest

import vi_lab as vl
from vi_lab import zoo
from vi_lab.advi import blocks
from vi_lab.optimizers import Adam
from vi_lab.results import checkpoint as checkpoints
from vi_lab.results.checkpoint import Checkpoint

pytestmark = pytest.mark.bits


@pytest.fixture(autouse=True)
def _short_blocks_written_at_once(monkeypatch):
    monkeypatch.setattr(blocks, "STEPS_PER_BLOCK", 50)  # or a block would be the whole fit
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN_WRITES", 0.0)


def regression(m, x, y):
    slope = m.sample("slope", vl.Normal(0.0, 1.0))
    m.observe("y", vl.Normal(slope * x, 1.0), y)


def minibatched():
    x = onp.linspace(-1.0, 1.0, 100)
    return vl.Model(regression, minibatch=vl.Minibatch(rows=("x", "y"), size=10), x=x, y=2.0 * x)


def interrupt_at(step):
    """A callback that presses Ctrl-C once ``step`` steps are done."""

    def callback(done, params, losses):
        if done >= step:
            raise KeyboardInterrupt

    return callback


CASES = {
    "in the warm-up": (lambda: zoo.notebook_gaussian().model(), {}, 300),
    "after it": (lambda: zoo.notebook_gaussian().model(), {"init": {"mu": 0.1, "sd": 1.0}}, 900),
    "after its reference was dropped": (
        lambda: zoo.eight_schools_centered().model(),
        {"steps": 8_000},
        6_500,
    ),
    "full rank": (lambda: zoo.correlated_gaussian().model(), {"family": "full_rank"}, 1_500),
    "low rank": (
        lambda: zoo.correlated_gaussian().model(),
        {"family": vl.LowRankGaussian(1), "steps": 1_600},
        700,
    ),
    "minibatches": (minibatched, {"steps": 1_200}, 500),
    "an optimiser": (
        lambda: zoo.notebook_gaussian().model(),
        {"optimizer": Adam(0.01), "steps": 700},
        350,
    ),
    "an optimiser on minibatches": (minibatched, {"optimizer": Adam(0.01), "steps": 700}, 350),
}


@pytest.mark.filterwarnings("ignore::vi_lab.errors.ConvergenceWarning")
@pytest.mark.parametrize("case", CASES)
def test_interrupted_and_resumed_is_uninterrupted_to_the_bit(case, tmp_path):
    make, options, step = CASES[case]
    model, path = make(), tmp_path / "fit.npz"
    common = {**options, "seed": 3, "engine": "jax", "progress": False}
    whole = vl.advi(model, **common)
    stopped = vl.advi(model, **common, checkpoint=path, callback=interrupt_at(step))
    assert stopped.interrupted
    assert len(stopped.losses) < len(whole.losses)
    assert path.exists()
    resumed = vl.advi(model, **common, checkpoint=path)
    assert not resumed.interrupted
    for name, value in whole.params.items():
        onp.testing.assert_array_equal(resumed.params[name], value)
    onp.testing.assert_array_equal(resumed.losses, whole.losses)
    assert resumed.convergence == whole.convergence
    # and a file of a fit that is over gives that fit again
    again = vl.advi(model, **common, checkpoint=path)
    onp.testing.assert_array_equal(again.params["loc"], whole.params["loc"])


def test_a_checkpoint_of_another_fit_is_refused(tmp_path):
    model, path = zoo.correlated_gaussian().model(), tmp_path / "fit.npz"
    vl.advi(model, "full_rank", seed=1, progress=False, checkpoint=path)
    with pytest.raises(ValueError, match=r"checkpoint: .* was written by another fit .*seed 1"):
        vl.advi(model, "full_rank", seed=2, progress=False, checkpoint=path)


@pytest.mark.parametrize("optimizer", [None, Adam(0.01)])
@pytest.mark.filterwarnings("ignore::vi_lab.errors.ConvergenceWarning")
def test_so_is_one_of_other_data_or_another_start(tmp_path, optimizer):
    path = tmp_path / "fit.npz"
    options = {"optimizer": optimizer, "steps": 80, "progress": False, "checkpoint": path}
    x = onp.array([0.5, 1.0, 1.5])
    vl.advi(vl.Model(regression, x=x, y=x), **options)
    with pytest.raises(ValueError, match=r"checkpoint: .* was written by another fit"):
        vl.advi(vl.Model(regression, x=x, y=2.0 * x), **options)
    with pytest.raises(ValueError, match=r"checkpoint: .* was written by another fit"):
        vl.advi(vl.Model(regression, x=x, y=x), init={"slope": 0.3}, **options)


def test_a_write_that_is_interrupted_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "fit.npz"
    keeper = Checkpoint(path, "a fit")
    keeper.keep(lambda: {"x": onp.arange(3.0)})
    keeper.write()

    def half_a_file(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(onp, "savez", half_a_file)
    with pytest.raises(KeyboardInterrupt):
        keeper.write()
    onp.testing.assert_array_equal(Checkpoint(path, "a fit").load()["x"], onp.arange(3.0))
    assert [file.name for file in tmp_path.iterdir()] == ["fit.npz"]


def test_writes_are_a_second_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN_WRITES", 1.0)
    path = tmp_path / "fit.npz"
    keeper = Checkpoint(path, "a fit")
    keeper.keep(lambda: {"x": onp.zeros(1)})
    assert not path.exists()
    keeper.write()
    assert path.exists()


def test_without_a_path_nothing_is_taken_or_written():
    keeper = Checkpoint(None, "a fit")
    keeper.keep(lambda: pytest.fail("a snapshot that nobody needs"))
    keeper.write()
    assert keeper.load() is None


def test_a_file_that_cannot_be_written_is_found_before_the_fit(tmp_path):
    with pytest.raises(ValueError, match="checkpoint: there is no folder"):
        Checkpoint(tmp_path / "nowhere" / "fit.npz", "a fit")


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "fit.npz"
    onp.savez(path, x=onp.zeros(3))
    with pytest.raises(ValueError, match=r"checkpoint: .* was written by another fit"):
        Checkpoint(path, "a fit").load()
