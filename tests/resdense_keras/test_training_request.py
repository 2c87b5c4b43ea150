"""Laws of the record that says what a training is asked for."""

import dataclasses

import pytest

from resdense_keras import RequestError
from resdense_keras.training import TrainingRequest, read_config, recipe
from resdense_keras.training.request import FIELDS, NO_RESULT

OTHER = {
    "model": "resnet32",
    "options": {"width": 4, "input_shape": (8, 8, 3)},
    "weights": "start.h5",
    "freeze": "stem",
    "data": "photos",
    "image_size": (24, 32),
    "on_bad_image": "skip",
    "resize": "pad",
    "held_out": 0.05,
    "recipe": recipe("paper", "resnet32", epochs=7),
    "seed": 5,
    "deterministic": True,
    "precision": "mixed_bfloat16",
    "jit": "off",
    "tensorboard": True,
    "rules": 1,
    "devices": "8 synchronized",
}
SLIM = {
    "from": "resnet20",
    "macs": 0.5,
}  # its nets come from files, so it has no options, weights, freeze and precision


def test_a_request_of_no_default_comes_back_from_its_config(tmp_path):
    import yaml

    plain, full = TrainingRequest(model="resnet20"), TrainingRequest(**OTHER)
    assert {*OTHER, "slim"} == set(FIELDS) and all(getattr(full, key) != getattr(plain, key) for key in OTHER)
    for request in (full, TrainingRequest(model="resnet20_slim50", slim=SLIM)):
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(request.as_config()))
        config = read_config(tmp_path / "config.yaml")
        assert TrainingRequest.from_config(config).as_config() == config == request.as_config()
        assert request.differences(config) == {}


@pytest.mark.parametrize("key", ["options", "weights", "freeze", "precision"])
def test_what_would_have_no_effect_on_a_slim_net_is_refused(key):
    with pytest.raises(RequestError, match=f"{key}=.* was given for a slim net"):
        TrainingRequest(model="resnet20_slim50", slim=SLIM, **{key: OTHER[key]})


@pytest.mark.parametrize("key", [key for key in FIELDS if key not in ("options", "recipe", *NO_RESULT)])
def test_a_difference_of_any_key_is_named(key):
    plain = TrainingRequest(model="resnet20")
    changed = dataclasses.replace(plain, **{key: SLIM if key == "slim" else OTHER[key]})
    assert list(changed.differences(plain.as_config())) == [key]


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"model": "resnet21"}, "unknown model 'resnet21'"),
        ({"precision": "float8"}, "unknown precision 'float8'"),
        ({"jit": "maybe"}, "unknown jit 'maybe'"),
        ({"recipe": "fats"}, "unknown recipe 'fats'"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused(wrong, message):
    with pytest.raises(RequestError, match=message):
        TrainingRequest(**{"model": "resnet20", **wrong})
