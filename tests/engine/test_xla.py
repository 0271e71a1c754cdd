"""The limit up to which XLA compiles a loop whole: set, and felt by our loops."""

import os

import numpy as onp
import pytest

from vi_lab.engine.xla import EXTRA, LIMIT, compile_loops_whole


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, f"{EXTRA}={LIMIT}"),
        ("", f"{EXTRA}={LIMIT}"),
        ("--xla_cpu_ftz=true", f"--xla_cpu_ftz=true {EXTRA}={LIMIT}"),
        (f"{EXTRA}=mine=1", f"{EXTRA}=mine=1"),
    ],
)
def test_the_flag_joins_those_of_the_user(monkeypatch, before, after):
    if before is None:
        monkeypatch.delenv("XLA_FLAGS", raising=False)
    else:
        monkeypatch.setenv("XLA_FLAGS", before)
    for _ in range(2):  # a second time changes nothing
        compile_loops_whole()
        assert os.environ["XLA_FLAGS"] == after


def test_our_loops_are_compiled_whole():
    """The body reads 2.4 kB of data; XLA's own limit is 1 kB."""
    jax = pytest.importorskip("jax")
    if jax.default_backend() != "cpu":
        pytest.skip("the limit is one of XLA on CPUs")
    from vi_lab.engine.jax import ENGINE

    def run(x, inputs, length, data):
        step = lambda s, i: (0.9 * s + i + jax.numpy.cos(s * data).sum(), s)  # noqa: E731
        return ENGINE.scan(step, x, inputs, length)

    arguments = onp.zeros(()), onp.zeros(1_000), 5, onp.zeros(300)
    compiled = jax.jit(run).lower(*arguments).compile()
    assert 'xla_cpu_small_call="true"' in compiled.as_text()
