"""What counts as the same output of a long chain: what two right runs may differ by, no more.

The bounds of `monte_carlo` were measured on the chains of the book: 150 seeds each of
chapters 09 and 10, 16 of chapter 11. Two right runs differ as independent ones do:

* means: (mean - truth) / mcse had an sd of 0.96 to 1.04, so z = 5 for a difference is passed
  once in 1.7 million;
* sds and ends of intervals, in the units of the docstring: sds of 0.9 and 1.1 (1.4 at worst), so
  the bound is at 5.5 and 4.5 (3.6) sds of a difference;
* the logarithm of an ESS had an sd of 0.07 to 0.11 for the chains of 10,000 draws, and up to 0.2
  for those of radon: log 3 is 7 (4) sds of a difference, and log 5 for the tails 6;
* acceptance had an sd of 0.01 (0.03), gradients a draw one of 9%: 14 (5) and 9 sds;
* smoothed pictures of two runs differed by 0.24 +- 0.04 (densities), 0.14 +- 0.05 (traces) and
  0.02 +- 0.006 (scattered points, whose cell has a bound of its own): 5 sds and more.

Of the tables of all pairs of these runs (11,175 for each of the first two, 120 for the third;
NUTS with Stan's windows) none failed. By the
figures above a right sampler fails the book's three tables (2, 2 and 5 rows) and four pictures
about once in a thousand comparisons, nearly always by a row of the shortest chain.
"""

import base64
import io
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.figure
import matplotlib.image
import monte_carlo
import nbformat
import nbval_plugin
import notebooks
import numpy as np
import pytest
from monte_carlo import ink_difference, reconcile
from nbformat.v4 import new_code_cell
from outputs import differences

from vi_lab.results.summary import summarise

HEADER = "        mean      sd      mcse  hdi 2.5%  hdi 97.5%  ess_bulk  ess_tail  r_hat"
ROW = "mu    0.1350  0.0990  0.000770  -0.05920     0.3290     16500     12900  1.000"


def table(**changes):
    """The table of one row, some of its numbers replaced."""
    columns = HEADER.split("  ")
    columns = [column.strip() for column in columns if column.strip()]
    cells = dict(zip(["", *columns], ROW.split(), strict=True)) | changes
    return "\n".join([HEADER, "  ".join(cells.values()), "2 chains of 10000 draws"])


SAME = {
    "mean": "0.1400",
    "sd": "0.1040",
    "mcse": "0.000900",
    "hdi 2.5%": "-0.0800",
    "hdi 97.5%": "0.3400",
    "ess_bulk": "12000",
    "ess_tail": "9000",
    "r_hat": "1.002",
}
CHANGED = {
    "mean": "0.1410",
    "sd": "0.1060",
    "mcse": "0.0024",
    "hdi 2.5%": "-0.0910",
    "hdi 97.5%": "0.3600",
    "ess_bulk": "5000",
    "ess_tail": "2000",
    "r_hat": "1.004",
}


@pytest.mark.parametrize("column", SAME)
def test_an_estimate_may_differ_by_its_error(column):
    assert reconcile(table(), table(**{column: SAME[column]})) == ([], table())


@pytest.mark.parametrize("column", CHANGED)
def test_and_by_no_more(column):
    complaints, _ = reconcile(table(), table(**{column: CHANGED[column]}))
    (found,) = [c for c in complaints if f" {column} was " in c]
    assert found.startswith("mu: ")


@pytest.mark.parametrize("column", SAME)
def test_what_is_not_a_number_is_a_difference(column):
    unknown = table(**{column: "nan"})
    assert reconcile(table(), unknown)[0]
    assert not reconcile(unknown, unknown)[0]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (table(), table(**{"": "nu"})),
        (table(), table() + "\nmore"),
        (table(), table().replace("2 chains", "3 chains")),
        (table().replace("mcse", "error"), table(mean="0.1351").replace("mcse", "error")),
        (table(ess_bulk="16,500"), table(ess_bulk="16,501")),
    ],
    ids=["row name", "line", "count", "no table of estimates", "no number"],
)
def test_all_else_is_left_for_others_to_judge(old, new):
    complaints, rest = reconcile(old, new)
    assert not complaints
    assert rest != old


@pytest.mark.parametrize(
    ("old", "same", "changed"),
    [
        ("loss 1.50 ± 0.10 nats", "loss 2.10 ± 0.12 nats", "loss 2.40 ± 0.12 nats"),
        ("12.5% ± 0.2%", "13.5% ± 0.2%", "14.5% ± 0.2%"),
        ("acceptance 0.91, 4", "acceptance 0.80, 4", "acceptance 0.55, 4"),
        ("acceptance 0.95, 4", "acceptance 1.0, 4", "acceptance 1.1, 4"),
        ("0 divergences, 3.8 gradients a draw", "0 divergences, 6.0 gradients a draw",
         "0 divergences, 1.2 gradients a draw"),
    ],
)  # fmt: skip
def test_phrases_of_estimates(old, same, changed):
    assert reconcile(old, same) == ([], old)
    complaints, _ = reconcile(old, changed)
    assert len(complaints) == 1


def test_summaries_of_independent_runs_agree_and_of_wider_draws_do_not():
    rng = np.random.default_rng(3)
    failed = {1.0: 0, 1.15: 0}
    for width in failed:
        for _ in range(25):
            draws = (
                rng.standard_normal((2, 2, 4_000, 3)) * np.array([1.0, width])[:, None, None, None]
            )
            old, new = (str(summarise({"x": chains}, chains=True)) for chains in draws)
            failed[width] += bool(reconcile(old, new)[0])
    assert failed == {1.0: 0, 1.15: 25}


# --------------------------------------------------------------------------- pictures


def picture(x, width=6):
    """A scatter of ``x`` (N, 2) as the base64 PNG that a notebook stores."""
    figure = matplotlib.figure.Figure(figsize=(width, 4))
    axes = figure.subplots()
    axes.scatter(*x.T, s=4, alpha=0.2, linewidth=0)
    axes.set(xlim=(-4, 4), ylim=(-4, 4))
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return {"output_type": "display_data", "metadata": {},
            "data": {"image/png": base64.b64encode(file.getvalue()).decode()}}  # fmt: skip


@pytest.fixture(scope="module")
def clouds():
    """Pictures of two samples of a correlated pair, of one of a narrower, and one not drawn."""
    rng = np.random.default_rng(4)
    root = np.linalg.cholesky([[1.0, 0.8], [0.8, 1.0]])
    x, y, z = rng.standard_normal((3, 5_000, 2))
    return [picture(draws) for draws in (x @ root.T, y @ root.T, 0.6 * z, x[:0])]


def judged(old, new):
    return "\n".join(differences([old], [new], relative=0.15, monte_carlo=True))


def test_pictures_of_two_samples_are_the_same(clouds):
    assert not judged(clouds[0], clouds[1])
    assert "pixel" in "\n".join(differences([clouds[0]], [clouds[1]]))


@pytest.mark.parametrize("k", [2, 3], ids=["another distribution", "no draws"])
def test_pictures_of_another_are_not(clouds, k):
    assert "the smoothed picture changed" in judged(clouds[0], clouds[k])


GRID = np.linspace(-5.0, 5.0, 300)


def curves(*moments, **words):
    """Densities of normals, as pixels."""
    figure = matplotlib.figure.Figure(figsize=(6, 4), dpi=80)
    axes = figure.subplots()
    for mean, sd in moments:
        axes.plot(GRID, np.exp(-0.5 * ((GRID - mean) / sd) ** 2) / sd)
    axes.set(xlim=(-5, 5), ylim=(0, 1.1), **words)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    file.seek(0)
    return matplotlib.image.imread(file)


@pytest.mark.parametrize(
    "other",
    [
        curves(),
        curves((1.0, 1.0)),
        curves((0.0, 1.3)),
        curves((0.0, 1.0), (1.0, 1.0)),
        curves((0.0, 1.0), title="another title", xlabel="another label"),
        np.ones((8, 16, 4)),
    ],
    ids=["nothing", "shifted", "wider", "one more", "words", "another size"],
)
def test_what_a_picture_shows_is_seen(other):
    stored = curves((0.0, 1.0))
    assert ink_difference(stored, curves((0.02, 1.01))) < 0.5 * monte_carlo.INK
    assert ink_difference(stored, other) > monte_carlo.INK


def test_a_cell_may_ask_for_more(clouds):
    sharper = list(differences([clouds[0]], [clouds[1]], relative=0.01, monte_carlo=True))
    assert len(sharper) == 1


def test_a_tick_label_that_is_wider_by_a_few_pixels_is_no_change():
    rng = np.random.default_rng(5)
    pixels = np.ones((100, 200, 4))
    pixels[20:80, 50:150, :3] = rng.uniform(size=(60, 100, 3))
    wider = np.pad(pixels, ((0, 0), (3, 0), (0, 0)), constant_values=1.0)
    assert ink_difference(pixels, wider) < 0.1 * monte_carlo.INK


# ------------------------------------------------------------------- a broken sampler

CHAPTER = notebooks.CHAPTERS / "10_mean_field_full_rank.ipynb"
BREAK = {
    "nothing": "",
    "steps twice as long once adapted": """
import numpy as np
from vi_lab.nuts import walk
settle = walk.settle
def hasty(averaging):
    settled = settle(averaging)
    return settled._replace(log_step_size=settled.log_step_size + np.log(2.0))
walk.settle = hasty
""",
    "every proposal is taken": """
from vi_lab.nuts import iterative
iterative.share = iterative.bias = lambda a, b: 1.0
""",
    "no proposal is taken": """
from vi_lab.nuts import iterative
iterative.share = iterative.bias = lambda a, b: 0.0
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", BREAK)
def test_a_chapter_fails_if_its_sampler_is_broken(fault, tmp_path):
    """Chapter 10 up to the picture of its chains, with a cell before it that breaks the sampler."""
    pytest.importorskip("jax")
    chapter = nbformat.read(CHAPTER, as_version=4)
    tagged = [
        i for i, cell in enumerate(chapter.cells) if "monte-carlo" in cell.metadata.get("tags", [])
    ]
    chapter.cells = chapter.cells[: tagged[1] + 1]
    chapter.cells.insert(0, new_code_cell(BREAK[fault], execution_count=1))
    nbformat.write(chapter, tmp_path / "chapter.ipynb")
    (tmp_path / "conftest.py").write_text("from nbval_plugin import pytest_collect_file")
    tools = Path(nbval_plugin.__file__).parent
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=verdicts.xml"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tools}:{Path(monte_carlo.__file__).parents[2]}"},
        check=False,
        capture_output=True,
    )
    cells = list(ElementTree.parse(tmp_path / "verdicts.xml").iter("testcase"))  # noqa: S314 - ours
    failed = [cell for cell in cells if cell.find("failure") is not None]
    assert len(cells) == sum(cell.cell_type == "code" for cell in chapter.cells)
    assert bool(failed) == (fault != "nothing")
