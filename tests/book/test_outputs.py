"""What counts as the same output of a cell, and what does not."""

import base64
import io

import matplotlib.figure
import numpy as np
import pytest
from outputs import PIXEL_RMS, differences, pixel_rms, same_text

SAME = {
    "rounding in the ninth digit": ("sd 0.0981210001", "sd 0.0981210002"),
    "a last digit of seven": ("144.7731", "144.7732"),
    "rounding error of zero": ("residual 2.2e-16", "residual -4.4e-16"),
    "the sign of zero, and the column it widens": ("a  0.00 b", "a -0.00 b"),
    "infinities and NaN are words": ("nan, inf, -inf", "nan, inf, -inf"),
    "an integer": ("n = 100", "n = 100"),
}
CHANGED = {
    "a shift of 1e-3": ("0.098121", "0.098219"),
    "an integer": ("n = 100", "n = 101"),
    "a large integer": ("1,000,000 draws", "1,000,001 draws"),
    "an integer that becomes a float": ("2", "2.0"),
    "a sign": ("0.5", "-0.5"),
    "an exponent": ("1.5e-3", "1.5e-2"),
    "a number more": ("1.5", "1.5 1.5"),
    "a word": ("mean 1.5", "sd 1.5"),
    "a digit in a name": ("x1 = 1.5", "x2 = 1.5"),
    "a name that looks like a float": ("v1.00001", "v1.00002"),
    "NaN": ("1.5", "nan"),
}


@pytest.mark.parametrize("case", SAME)
def test_text_is_the_same(case):
    assert same_text(*SAME[case])


@pytest.mark.parametrize("case", CHANGED)
def test_text_has_changed(case):
    assert not same_text(*CHANGED[case])


@pytest.mark.parametrize(("ess", "same"), [("8400", True), ("9000", False)])
def test_a_tolerance_of_the_cell_holds_for_integers_too(ess, same):
    assert same_text("ess 8123", f"ess {ess}", relative=0.05) is same


def picture(x: np.ndarray) -> str:
    """A histogram of ``x`` as the base64 PNG that a notebook stores."""
    figure = matplotlib.figure.Figure()
    figure.subplots().hist(x, bins=20)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return base64.b64encode(file.getvalue()).decode()


@pytest.fixture
def x():
    return np.random.default_rng(1).normal(size=500)


def test_a_picture_is_the_same_after_rounding(x):
    assert pixel_rms(picture(x), picture(x * (1 + 1e-9))) < 0.1 * PIXEL_RMS


def test_a_picture_of_other_draws_has_changed(x):
    other = np.random.default_rng(2).normal(size=500)
    assert pixel_rms(picture(x), picture(other)) > 5 * PIXEL_RMS


def test_a_tolerance_of_the_cell_holds_for_its_picture_too(x):
    other = picture(np.random.default_rng(2).normal(size=500))
    changed = pixel_rms(picture(x), other)
    stored, fresh = ([display(**{"image/png": p})] for p in (picture(x), other))
    assert not list(differences(stored, fresh, 1.1 * changed))
    assert list(differences(stored, fresh, 0.9 * changed))


def stream(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


def display(**data):
    return {"output_type": "display_data", "metadata": {}, "data": data}


def error(value):
    return {"output_type": "error", "ename": "ValueError", "evalue": value, "traceback": [value]}


@pytest.mark.parametrize(
    ("stored", "fresh", "said"),
    [
        ([stream("a")], [stream("a"), stream("50%", "stderr")], ""),
        ([stream("a")], [stream("b")], "text/plain was\na\nand is now\nb"),
        ([stream("a")], [], "outputs were"),
        ([display(text="a")], [display(html="a")], "outputs were"),
        ([display(json={"a": 1})], [display(json={"a": 2})], "json was"),
        ([error("no such latent")], [error("no such latent")], ""),
        ([error("no such latent")], [error("no such model")], "no such model"),
    ],
)
def test_differences_are_told_in_words(stored, fresh, said):
    found = "\n".join(differences(stored, fresh))
    assert said in found
    assert bool(said) == bool(found)


def test_a_picture_of_another_size_has_changed(x):
    small, large = (display(**{"image/png": picture(x)}) for _ in range(2))
    figure = matplotlib.figure.Figure(figsize=(1, 1))
    file = io.BytesIO()
    figure.savefig(file, format="png")
    large["data"]["image/png"] = base64.b64encode(file.getvalue()).decode()
    assert "the picture changed" in next(differences([small], [large]))
