"""The verdict on a fit, as a sentence."""

import pytest

from vi_lab.results.convergence import Convergence


def verdict(**changes):
    fields = {"converged": True, "why": "settled", "gap": 2e-5, "tolerance": 1e-4, "steps": 6_400}
    return str(Convergence(**{**fields, "gradients": 6_400, **changes}))


def test_a_converged_fit_says_how_near_it_believes_to_be():
    assert verdict().startswith("Converged: about 2e-05 nats from the best q of its family")


@pytest.mark.parametrize(
    ("why", "told"),
    [("steps", "the steps ran out"), ("callback", "callback"), ("interrupt", "interrupted")],
)
def test_one_that_is_not_says_why(why, told):
    sentence = verdict(converged=False, why=why)
    assert sentence.startswith("NOT CONVERGED: ")
    assert told in sentence
    assert "about 2e-05 nats from" in sentence


def test_a_gap_that_is_not_known_is_no_number():
    sentence = verdict(converged=False, why="steps", gap=float("inf"))
    assert "how far from the best q of its family is not known" in sentence
    assert "inf" not in sentence
