"""Bad calls of everything public: refused by the argument's name, before any work.

What is public is found in the library (`public_surface`), and each of its arguments needs wrong
values in one of the tables here: a new function without them fails this test.
"""

import re
from collections.abc import Iterable
from typing import Any

import calls_of_fits
import calls_of_parts
import calls_of_results
import pytest
from bad_call import Call
from public_surface import parameters, surface
from wrong_values import Wrong

from vi_lab.checks import shown
from vi_lab.errors import ViLabError

CALLS: dict[str, Call] = calls_of_fits.CALLS | calls_of_parts.CALLS | calls_of_results.CALLS
LEAST = 700  # calls, in all
SURFACE = surface()

WITHOUT_CASES = {
    "records that fits and the zoo make": {
        *("Accuracy", "Check", "CheckPoint", "ConjugateFit", "Conditions", "Convergence", "Exact"),
        *("Fit", "LinearResponse", "LogSlack", "NutsResult", "Reference", "Stage", "Summary"),
        "ZooEntry",
    },
    "functions by which one part of the library calls another": {
        *("Minibatch.count", "Minibatch.length_of", "Minibatch.source", "Minibatch.split"),
        *("Model.run", "Mixture.means", "NaturalChart", "families.chart_of", "Convergence.of"),
        *("transforms.hold_bounds", "transforms.hold_interval", "plots.running_mean"),
        *("optimizers.check_step_size", "optimizers.step_size_at"),
        *("gradients.check_base_draws", "gradients.mean_log_density"),
        *("gradients.without_axis_of_one", "engine.follow", "engine.running"),
        *("families.family_record", "families.family_from_record"),
    },
    "functions whose source the book prints, as formulas": {
        *("conjugate.half_steps", "conjugate.scale_statistics"),
    },
}
EXEMPT = set().union(*WITHOUT_CASES.values())


def outcome(call: Call, argument: str, wrong: Wrong) -> str:
    """What is wrong with how a bad call ends; nothing, if all is well."""
    calls_of_fits.begun.clear()
    arguments: dict[str, Any] = {**call.good, argument: wrong.value}
    begins = f"^({call.called.get(argument, re.escape(argument))})[^:]*: "
    try:
        found = call.function(**arguments)
    except ViLabError as error:
        if calls_of_fits.begun and argument != "values":  # only a program knows their supports
            return f"work was begun ({calls_of_fits.begun[0]}) before: {error}"
        if not re.match(begins, str(error)):
            return f"names another argument: {error}"
        if not isinstance(error, wrong.error):
            return f"is a {type(error).__name__}, not a {wrong.error.__name__}: {error}"
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is not the library's own
        return f"escapes as {type(error).__name__}: {error}"
    else:
        return f"is accepted: {shown(found)}"
    return ""


def problems(name: str, arguments: Iterable[str]) -> list[str]:
    call = CALLS[name]
    return [
        f"{name}({argument}={shown(wrong.value)}) {problem}"
        for argument in arguments
        for wrong in call.wrong[argument]
        if (problem := outcome(call, argument, wrong))
    ]


@pytest.mark.parametrize("name", CALLS)
def test_wrong_arguments_are_refused_by_name(name: str) -> None:
    found = problems(name, CALLS[name].wrong)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", SURFACE)
def test_every_argument_of_everything_public_has_wrong_values(name: str) -> None:
    if name in EXEMPT:
        assert name not in CALLS
        return
    assert name in CALLS, "add its bad calls to a table"
    missing = set(parameters(SURFACE[name])) - CALLS[name].wrong.keys()
    assert not missing, f"add wrong values for {sorted(missing)}"


def test_nothing_is_exempt_that_is_not_there() -> None:
    assert SURFACE.keys() >= EXEMPT


def test_there_are_many() -> None:
    assert sum(len(each) for call in CALLS.values() for each in call.wrong.values()) >= LEAST
