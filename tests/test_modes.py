from __future__ import annotations

import dataclasses

import pytest

from gatepost.modes import Feature, Mode, Modes


def test_each_feature_has_a_mode_and_starts_in_observe() -> None:
    assert [field.name for field in dataclasses.fields(Modes)] == [each.value for each in Feature]
    assert {Modes().of(feature) for feature in Feature} == {Mode.OBSERVE}


@pytest.mark.parametrize("feature", Feature)
@pytest.mark.parametrize("mode", Mode)
def test_mode_of_one_feature(feature: Feature, mode: Mode) -> None:
    modes = Modes(**{feature.value: mode})
    assert modes.of(feature) is mode
    assert {modes.of(other) for other in Feature if other is not feature} == {Mode.OBSERVE}
