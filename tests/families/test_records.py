"""How a family of one's own is stored beside a fit."""

from dataclasses import dataclass
from typing import Any

import numpy as onp
import pytest

import vi_lab as vl
from vi_lab.families import MeanFieldGaussian, family_from_record, family_record
from vi_lab.results.storage import load_arrays, save_arrays


@dataclass(frozen=True)
class Named(MeanFieldGaussian):
    name: str = "mean_field"
    other: Any = None


def test_a_setting_called_name_does_not_make_it_another_family():
    record = family_record(Named())
    assert record["name"] == "Named"
    with pytest.raises(vl.ViLabError, match=r"^family: is Named, none of"):
        family_from_record(record)
    assert family_from_record(record, Named()) == Named()


def test_settings_of_any_kind_can_be_stored(tmp_path):
    family = Named(other=MeanFieldGaussian())
    save_arrays(tmp_path / "family.npz", **family_record(family))
    record = load_arrays(tmp_path / "family.npz")
    assert family_from_record(record, family) == family
    with pytest.raises(vl.ViLabError, match=r"^family: was"):
        family_from_record(record, Named())


@pytest.mark.parametrize("value", [onp.ma.array(1.0, mask=True), [onp.ma.array([1.0], mask=[1])]])
def test_masked_values_are_refused_wherever_numbers_are(value):
    with pytest.raises(vl.ViLabError, match="masked array"):
        vl.Normal(value, 1.0)
