"""A fit that was stopped and goes on from its file is the fit that was never stopped."""

import errno
import os
import shutil
import subprocess
import sys
from dataclasses import asdict

import numpy as onp
import pytest

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab import zoo
from vi_lab.advi import blocks, rows
from vi_lab.optimizers import Adam
from vi_lab.results import checkpoint as checkpoints
from vi_lab.results.checkpoint import Checkpoint

pytestmark = pytest.mark.bits

A_FIT = {"seed": "1"}


@pytest.fixture(autouse=True)
def _short_blocks_written_at_once(monkeypatch):
    monkeypatch.setattr(blocks, "STEPS_PER_BLOCK", 50)  # or a block would be the whole fit
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN_WRITES", -1.0)
    monkeypatch.setattr(checkpoints, "SHARE_OF_WRITES", 1.0)


def regression(m, x, y):
    slope = m.sample("slope", vl.Normal(0.0, 1.0))
    m.observe("y", vl.Normal(slope * x, 1.0), y)


def minibatched():
    x = onp.linspace(-1.0, 1.0, 100)
    return vl.Model(regression, minibatch=vl.Minibatch(rows=("x", "y"), size=10), x=x, y=2.0 * x)


def told(stage):
    """All of a stage but what it took, which a stage that was resumed has only in part."""
    return stage.name, stage.draws, stage.elbo, stage.gap, stage.why


def interrupt_at(step):
    """A callback that presses Ctrl-C once ``step`` steps are done."""

    def callback(done, params, losses):
        if done >= step:
            raise KeyboardInterrupt

    return callback


def many_rows():
    rng = onp.random.default_rng(0)
    x = rng.normal(size=3_000)
    minibatch = vl.Minibatch(rows=("x", "y"), size=10)
    return vl.Model(regression, minibatch=minibatch, x=x, y=2.0 * x + rng.standard_t(3, size=3_000))


def wide():
    """On R^600, and not Gaussian: its curvature comes by products."""
    return vl.Target(lambda z: -0.5 * np.sum(z**2 + 0.1 * np.cos(z), axis=-1), dim=600)


def two_modes():
    """At 0 and 5: more starts are asked for."""
    return vl.Target(
        lambda z: np.logaddexp(-0.5 * np.sum(z**2, -1) / 0.09, -0.5 * np.sum((z - 5) ** 2, -1)), 1
    )


CASES = {
    "during the starts": (lambda: zoo.notebook_gaussian().model(), {}, 4),
    "during more starts": (two_modes, {}, 9),
    "as the starts end": (lambda: zoo.notebook_gaussian().model(), {}, 9),
    "in the family": (lambda: zoo.notebook_gaussian().model(), {}, 11),
    "from values": (lambda: zoo.notebook_gaussian().model(), {"init": {"mu": 0.1, "sd": 1.0}}, 7),
    "rivals": (lambda: zoo.eight_schools_centered().model(), {"steps": 60}, 53),
    "corrected steps": (lambda: zoo.eight_schools_centered().model(), {"steps": 60}, 59),
    "full rank": (lambda: zoo.eight_schools_noncentered().model(), {"family": "full_rank"}, 20),
    "low rank": (
        lambda: zoo.kidiq_interaction().model(),
        {"family": vl.LowRankGaussian(1), "steps": 40},
        25,
    ),
    "minibatches, few": (minibatched, {}, 3),
    "rows, during the starts": (many_rows, {}, 3),
    "rows, in the family": (many_rows, {}, 8),
    "expansion": (wide, {}, 5),
    "an optimiser": (
        lambda: zoo.notebook_gaussian().model(),
        {"optimizer": Adam(0.01), "steps": 700},
        350,
    ),
    "an optimiser on minibatches": (minibatched, {"optimizer": Adam(0.01), "steps": 700}, 350),
}


@pytest.mark.filterwarnings("ignore::vi_lab.errors.ConvergenceWarning")
@pytest.mark.parametrize("case", CASES)
def test_interrupted_and_resumed_is_uninterrupted_to_the_bit(case, tmp_path, monkeypatch):
    make, options, step = CASES[case]
    model, path = make(), tmp_path / "fit.npz"
    monkeypatch.setattr(rows, "FEWEST_ROWS", 500)
    assert rows.needs_rows(model) == case.startswith("rows")
    common = {**options, "seed": 3, "engine": "jax", "progress": False}
    whole = vl.advi(model, **common)
    stopped = vl.advi(model, **common, checkpoint=path, callback=interrupt_at(step))
    assert stopped.interrupted
    assert path.exists()
    if whole.convergence is not None:
        assert stopped.convergence.steps == step < whole.convergence.steps
    resumed = vl.advi(model, **common, checkpoint=path)
    assert not resumed.interrupted
    for name, value in whole.params.items():
        onp.testing.assert_array_equal(resumed.params[name], value)
    onp.testing.assert_array_equal(resumed.losses, whole.losses)
    if whole.convergence is not None:  # whose numbers may be NaN
        onp.testing.assert_equal(asdict(resumed.convergence), asdict(whole.convergence))
    assert [told(stage) for stage in resumed.stages] == [told(stage) for stage in whole.stages]
    # and a file of a fit that is over gives that fit again
    again = vl.advi(model, **common, checkpoint=path)
    onp.testing.assert_array_equal(again.params["loc"], whole.params["loc"])


def test_a_checkpoint_of_another_fit_is_refused(tmp_path):
    model, path = zoo.correlated_gaussian().model(), tmp_path / "fit.npz"
    vl.advi(model, "full_rank", seed=1, progress=False, checkpoint=path)
    with pytest.raises(
        ValueError, match=r"checkpoint: .* was written by another fit .*seed 1 there, 2 here"
    ):
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
    keeper = Checkpoint(path, A_FIT)
    keeper.keep(lambda: {"x": onp.arange(3.0)})
    keeper.write()

    def half_a_file(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(onp, "savez", half_a_file)
    with pytest.raises(KeyboardInterrupt):
        keeper.keep(lambda: {"x": onp.zeros(3)})
    keeper.write()  # when a fit is over, there is nothing left to interrupt
    onp.testing.assert_array_equal(Checkpoint(path, A_FIT).load()["x"], onp.arange(3.0))
    assert [file.name for file in tmp_path.iterdir()] == ["fit.npz"]


def test_writes_are_a_second_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN_WRITES", 1.0)
    path = tmp_path / "fit.npz"
    keeper = Checkpoint(path, A_FIT)
    keeper.keep(lambda: {"x": onp.zeros(1)})
    assert not path.exists()
    keeper.write()
    assert path.exists()


def test_without_a_path_nothing_is_taken_or_written():
    keeper = Checkpoint(None, A_FIT)
    keeper.keep(lambda: pytest.fail("a snapshot that nobody needs"))
    keeper.write()
    assert keeper.load() is None


def test_a_file_that_cannot_be_written_is_found_before_the_fit(tmp_path):
    with pytest.raises(ValueError, match="checkpoint: there is no folder"):
        Checkpoint(tmp_path / "nowhere" / "fit.npz", A_FIT)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "fit.npz"
    onp.savez(path, x=onp.zeros(3))
    with pytest.raises(ValueError, match=r"checkpoint: .* was written by another fit"):
        Checkpoint(path, A_FIT).load()


def test_a_damaged_checkpoint_is_named(tmp_path):
    path = tmp_path / "fit.npz"
    path.write_bytes(b"half")
    with pytest.raises(ValueError, match=r"checkpoint: .*fit.npz is damaged.* delete the file"):
        Checkpoint(path, A_FIT).load()


def test_a_checkpoint_that_cannot_be_written_is_a_warning_and_the_fit_goes_on(
    tmp_path, monkeypatch
):
    model = zoo.notebook_gaussian().model()
    options = {"seed": 1, "steps": 2_000, "optimizer": Adam(0.01), "progress": False}
    whole = vl.advi(model, **options)
    folder = tmp_path / "folder"
    folder.mkdir()

    def remove(done, params, losses):
        shutil.rmtree(folder, ignore_errors=True)

    with pytest.warns(UserWarning, match=r"checkpoint: .*folder.* goes on") as warned:
        fit = vl.advi(model, **options, checkpoint=folder / "fit.npz", callback=remove)
    assert len(warned) == 1
    onp.testing.assert_array_equal(fit.params["loc"], whole.params["loc"])

    def no_space(file, **arrays):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(onp, "savez", no_space)
    with pytest.warns(UserWarning, match=r"checkpoint: .*No space left on device.* goes on"):
        fit = vl.advi(model, **options, checkpoint=tmp_path / "fit.npz")
    onp.testing.assert_array_equal(fit.params["loc"], whole.params["loc"])
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_beside_the_file_is_removed(tmp_path):
    path, mine = tmp_path / "fit.npz", os.getpid()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    litter = tmp_path / f"fit.npz.{gone.pid}.part"
    of_others = [tmp_path / f"fit.npz.{os.getppid()}.part", tmp_path / f"b.npz.{mine}.part"]
    for file in (litter, *of_others):
        file.touch()
    Checkpoint(path, A_FIT)
    assert sorted(tmp_path.iterdir()) == sorted(of_others)


# ------------------------------------------------------------------------ whose it is
X = onp.array([3.0, 4.0, 5.0])
WIDTH = 1.0


def shifted(m, x, y, k=1):
    slope = m.sample("slope", vl.Normal(0.0, WIDTH))
    m.observe("y", vl.Normal(slope * x * k, 1.0), y)


def steeper(m, x, y, k=1):
    slope = m.sample("slope", vl.Normal(0.0, WIDTH))
    m.observe("y", vl.Normal(2.0 * slope * x * k, 1.0), y)


def rates(gamma):
    return lambda t: gamma / t


OTHERS = {
    "data x": (lambda: vl.Model(shifted, x=-X, y=X), {}),
    "data y": (lambda: vl.Model(shifted, x=X, y=X.astype(onp.float32) + 1e-6), {}),
    "program": (lambda: vl.Model(steeper, x=X, y=X), {}),
    "captured WIDTH": (lambda: vl.Model(shifted, x=X, y=X), {}),
    "data k 1 there, True here": (lambda: vl.Model(shifted, x=X, y=X, k=True), {}),
    "optimizer": (lambda: vl.Model(shifted, x=X, y=X, k=1), {"optimizer": Adam(rates(2e-3))}),
    "seed 1 there, 2 here": (lambda: vl.Model(shifted, x=X, y=X, k=1), {"seed": 2}),
    "start": (lambda: vl.Model(shifted, x=X, y=X, k=1), {"init": {"slope": 0.3}}),
    "family": (lambda: vl.Model(shifted, x=X, y=X, k=1), {"family": "full_rank"}),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_checkpoint_says_what_differs(what, tmp_path, monkeypatch):
    path = tmp_path / "fit.npz"
    options = {"steps": 40, "seed": 1, "progress": False, "checkpoint": path}
    options["optimizer"] = Adam(rates(1e-3))
    first = vl.advi(vl.Model(shifted, x=X, y=X, k=1), **options)
    again = vl.advi(vl.Model(shifted, x=X, y=X, k=1), **{**options, "optimizer": Adam(rates(1e-3))})
    assert again.params["loc"] == first.params["loc"]
    if what == "captured WIDTH":
        monkeypatch.setitem(globals(), "WIDTH", 2.0)
    make, other = OTHERS[what]
    with pytest.raises(ValueError, match=rf"checkpoint: .* another fit \(.*{what}"):
        vl.advi(make(), **{**options, **other})


def test_so_does_one_of_rows_that_are_not_in_memory(tmp_path):
    table = onp.random.default_rng(0).normal(size=(5_000, 2))
    onp.save(tmp_path / "table.npy", table)
    minibatch = vl.Minibatch(rows=("x", "y"), size=10)

    def fit(table):
        model = vl.Model(regression, minibatch=minibatch, x=table[:, 0], y=table[:, 1])
        return vl.advi(
            model, optimizer=Adam(0.01), steps=40, progress=False, checkpoint=tmp_path / "fit.npz"
        )

    first = fit(onp.load(tmp_path / "table.npy", mmap_mode="r"))
    assert fit(onp.load(tmp_path / "table.npy", mmap_mode="r")).params == first.params
    onp.save(tmp_path / "table.npy", table[::-1])
    with pytest.raises(ValueError, match=r"another fit \(data x; data y\)"):
        fit(onp.load(tmp_path / "table.npy", mmap_mode="r"))


def test_the_identity_of_a_fit_is_the_same_in_another_process(tmp_path):
    """Whatever the seed of Python's hashes, and wherever objects lie in memory."""
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as onp, vi_lab as vl, functools\n"
        "from vi_lab.optimizers import Adam\n"
        "from vi_lab.results.identity import of_model, of_options\n"
        "KINDS, TABLE = {'a', 'b', 'c'}, {'x': (1, 2.0)}\n"
        "class Own:\n"
        "    def __init__(self): self.k, self.names = 2.0, frozenset('abcde')\n"
        "    def program(self, m, x):\n"
        "        if 'q' in {'u', 'v', 'w'} | KINDS | self.names: return\n"
        "        m.sample('a', vl.Normal(0.0, self.k + TABLE['x'][1]), shape=x.shape)\n"
        "model = vl.Model(Own().program, x=onp.arange(3.0))\n"
        "adam = Adam(functools.partial(lambda t, c: c / t, c=0.1))\n"
        "print(sorted({**of_model(model), **of_options(optimizer=adam)}.items()))\n"
    )
    said = {
        subprocess.check_output(
            [sys.executable, str(script)], env={**os.environ, "PYTHONHASHSEED": seed}, text=True
        )
        for seed in ("1", "2")
    }
    assert len(said) == 1
    assert "captured KINDS" in said.pop()
