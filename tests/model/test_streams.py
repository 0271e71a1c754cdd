"""Functions of blocks that cannot be used: each is told why, by `svi`, `cavi` and `Minibatch`."""

import numpy as onp
import pytest

import vi_lab as vl
from vi_lab.conjugate import NormalModel, cavi, svi

X = onp.random.default_rng(1).normal(size=40)
HALVES = [X[:20], X[20:]]


def line(m, x):
    m.observe("x", vl.Normal(m.sample("mu", vl.Normal(0.0, 1.0)), 1.0), x)


def by_svi(function):
    svi(NormalModel(), function, batch=5, num_rows=40, progress=False)


def by_cavi(function):
    cavi(NormalModel(), function, progress=False)


def by_minibatch(function):
    def blocks(*arguments):
        begun = function(*arguments)
        return begun if begun is None or begun == 3 else ({"x": block} for block in begun)

    blocks.__signature__ = __import__("inspect").signature(function)
    vl.Model(line, minibatch=vl.Minibatch(("x",), 5, blocks=blocks, num_rows=40))


WAYS = pytest.mark.parametrize("fit", [by_svi, by_cavi, by_minibatch])


@WAYS
def test_what_is_no_function_of_blocks(fit):
    for function, message in (
        (lambda: None, "the function returns None; return an iterator"),
        (lambda: 3, "the function returns the int 3; return an iterator"),
        (lambda epoch: HALVES, "cannot be called with 0 arguments .missing .* 'epoch'"),
    ):
        with pytest.raises(TypeError, match=f"^(rows|blocks): .*{message}"):
            fit(function)


@WAYS
def test_a_function_begins_anew(fit):
    begun = iter(HALVES)
    with pytest.raises(ValueError, match=r"^(rows|blocks): .*(same iterator at each|none left)"):
        fit(lambda: begun)
    within = iter(HALVES)
    with pytest.raises(ValueError, match=r"as if the first were missing|none left"):
        fit(lambda: map(onp.asarray, within))
    with pytest.raises(ValueError, match=r"^(rows|blocks): there are no blocks"):
        fit(lambda: iter([]))


def test_a_stream_itself_is_gone_through_once():
    once = svi(NormalModel(), iter(HALVES), batch=5, num_rows=40, progress=False)
    assert once.verdict == "the stream ended after 8 steps"


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([{"x": X[:20]}, {"x": onp.ones((20, 2))}], r"^x: a block has rows of .*\(2,\), 'float'"),
        ([{"x": onp.arange(20)}, {"x": X[20:]}], r"^x: .* 'float'\), but .* first .* 'integer'"),
        ([{"x": X[:20]}, {"y": X[20:]}], r"^blocks: each must be a dictionary .* \['x'\], .*'y'"),
        ([{"x": X[:20]}, None], "^blocks: each must be a dictionary .* holds None"),
        ([{"x": X[:30]}], r"^num_rows: 40 were announced, but the blocks held 30; statistics"),
    ],
)
def test_blocks_are_alike(blocks, message):
    """Counts into which fractions come would be cut off: the first block says what is kept."""
    with pytest.raises(ValueError, match=message):
        vl.Model(line, minibatch=vl.Minibatch(("x",), 5, blocks=lambda: blocks, num_rows=40))
