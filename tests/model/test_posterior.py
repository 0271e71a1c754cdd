"""What a fit needs of a model: `Model` and `Target` have all of it, called in the same way."""

import inspect

import numpy as onp
import pytest

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab.model import LogDensity, Posterior


def normal(m, x):
    mu = m.sample("mu", vl.Normal(0.0, 1.0), shape=(2,))
    m.observe("x", vl.Normal(mu, 1.0), x)


def density(z):
    return -0.5 * np.sum(z**2, axis=-1)


MODEL, TARGET = vl.Model(normal, x=onp.zeros((5, 2))), vl.Target(density, dim=2)
both = pytest.mark.parametrize("model", [MODEL, TARGET], ids=["model", "target"])


def members(protocol):
    return [name for name in vars(protocol) if not name.startswith("_")]


def names(method):
    return [(p.name, p.default) for p in inspect.signature(method).parameters.values()]


@both
def test_every_member_is_there_with_the_same_arguments(model):
    for protocol, value in ((Posterior, model), (LogDensity, model.structure)):
        for name in members(protocol):
            declared = getattr(protocol, name)
            assert hasattr(value, name), name
            if callable(declared):
                assert names(getattr(value, name)) == names(declared)[1:], name


def test_all_that_model_and_target_share_is_called_in_the_same_way():
    shared = [name for name in members(vl.Model) if callable(getattr(vl.Target, name, None))]
    assert {"log_density", "terms", "constrain", "unconstrain", "minibatches"} <= set(shared)
    for name in shared:
        assert names(getattr(vl.Model, name)) == names(getattr(vl.Target, name)), name


@both
def test_log_density_takes_any_leading_axes_and_an_engine(model, engine):
    z = onp.random.default_rng(0).normal(size=(3, 4, 2))
    found = model.log_density(z, engine=engine.name)
    assert type(found) is onp.ndarray
    assert found.shape == (3, 4)
    run = engine.compile(type(model.structure).log_density, static=(0,))
    for i in onp.ndindex(3, 4):
        one = run(model.structure, z[i], dict(model.data))
        onp.testing.assert_allclose(found[i], one, rtol=1e-13)
    onp.testing.assert_allclose(model.log_density(z[0, 0]), found[0, 0], rtol=1e-13)


@both
def test_equal_structures_are_equal_and_hash_equally(model):
    assert model.structure == model.structure
    assert hash(model.structure) == hash(model.structure)


def test_a_target_has_no_rows():
    assert TARGET.num_rows == MODEL.num_rows == 0
    with pytest.raises(ValueError, match=r"^minibatch: a Target has no rows"):
        TARGET.minibatches(onp.random.default_rng(0))
