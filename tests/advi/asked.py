"""Settings as `vl.advi` makes them of its arguments, for tests of what works with them."""

import inspect

import vi_lab as vl
from vi_lab.advi.settings import Settings, checked

DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(vl.advi).parameters.items()
    if name != "model"
}


def asked(model, **options) -> Settings:
    return checked(model, **{**DEFAULTS, "progress": False, **options})
