"""Losses by name."""

import pytest

import lgg.losses


def test_every_public_name_resolves():
    for name in lgg.losses.__all__:
        assert callable(getattr(lgg.losses, name))


@pytest.mark.parametrize(
    ("name", "options", "loss"),
    [
        ("graph_distillation", {"k": 3, "edges": "inter"}, "GraphDistillation"),
        ("hinton", {"temperature": 4.0}, "HintonDistillation"),
        ("label_variation", {"similarity": "rbf_squared", "reduction": "mean"}, "LabelVariation"),
        ("relational", {}, "RelationalDistillation"),
        ("regularizer", {"power": 1, "reduction": "sum"}, "LabelVariationRegularizer"),
        ("triplet", {"margin": 0.5}, "Triplet"),
    ],
)
def test_loss_is_built_by_the_name_of_its_module_with_its_options(name, options, loss):
    built = lgg.losses.build(name, **options)
    assert type(built) is getattr(lgg.losses, loss)
    assert {option: getattr(built, option) for option in options} == options


def test_the_earlier_name_of_the_regularizer_is_the_same_class():
    assert lgg.losses.LabelVariationSmoothness is lgg.losses.LabelVariationRegularizer


def test_unknown_loss_is_refused():
    with pytest.raises(ValueError, match=r"no loss 'hinton_kd'; there are .*hinton, .*relational"):
        lgg.losses.build("hinton_kd")
    with pytest.raises(ValueError, match="no loss 'parseval'"):
        lgg.losses.build("parseval")
    with pytest.raises(AttributeError, match=r"module 'lgg\.losses' has no attribute 'Hinton'"):
        _ = lgg.losses.Hinton
