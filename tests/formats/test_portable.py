"""The conversions between conventions change no reconstruction, and latents only by the norms that are folded."""

import pytest
import torch
from formats.twins import K, M, activations, draw, made, matrices

from saebook.common.errors import UserError
from saebook.formats import portable
from saebook.formats.portable import PER_LATENT, PortableSAE


def computed(sae: PortableSAE, x):
    """What `sae` computes, as its documentation says: latents and reconstructions."""
    t = sae.tensors
    h = (sae.input_scale * x - t["b_dec"] * sae.centred) @ t["W_enc"]
    norms = sae.norms().float()
    if sae.kind == "gated":
        f = (h + t["b_gate"] > 0) * (h * t["r_mag"].exp() + t["b_mag"]).relu()
    elif sae.kind == "topk":
        order = ((h + t["b_enc"]) * (norms if sae.chosen_by_norm else 1)).topk(sae.k).indices
        f = torch.zeros_like(h).scatter(1, order, 1.0) * (h + t["b_enc"]).relu()
    elif sae.kind == "relu":
        f = (h + t["b_enc"]).relu()
    else:
        f = (h + t["b_enc"]).relu() * (h + t["b_enc"] > t["threshold"])
    return f, (f @ t["W_dec"] + t["b_dec"]) / sae.input_scale


def some(kind, centred=True, **options):
    tensors = matrices() | {name: 0.5 * draw(30 + i, M) for i, name in enumerate(PER_LATENT[kind])}
    if kind == "batchtopk":
        tensors["threshold"] = torch.tensor([0.6])
    return PortableSAE(kind, tensors, centred, k=K if "topk" in kind else None, **options)


KINDS = [(kind, {}) for kind in PER_LATENT] + [("topk", {"chosen_by_norm": True})]


@pytest.mark.parametrize(("kind", "options"), KINDS)
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("input_scale", [1.0, 0.3])
def test_every_conversion_leaves_reconstructions_as_they_are(kind, options, centred, input_scale):
    sae, x = some(kind, centred, input_scale=input_scale, **options), activations()
    f, xhat = computed(sae, x)
    assert 0.02 < (f > 0).float().mean() < 0.9
    folds = kind != "topk" or options
    for changed, times in (
        (sae.unscaled(), 1 / input_scale),
        (sae.with_unit_rows(), sae.norms().float() if folds else 1.0),
        (sae.centred_as(not centred), 1.0),
        (sae.with_thresholds(), 1.0),
        (sae.unscaled().with_unit_rows().centred_as(True), (sae.norms().float() if folds else 1.0) / input_scale),
    ):
        if changed.input_scale != 1 and changed.centred != sae.centred:
            continue  # a scaled input is folded first
        g, again = computed(changed, x)
        assert torch.allclose(again, xhat, atol=2e-5 * float(xhat.abs().max()), rtol=1e-5)
        assert torch.allclose(g, f * times, atol=2e-5 * float((f * times).max()), rtol=1e-5)
    assert sae.with_unit_rows().has_unit_rows() == bool(folds)


def test_unit_rows_are_left_as_they_are():
    sae = some("relu")
    sae = PortableSAE("relu", sae.tensors | matrices(unit=True), True)
    assert sae.with_unit_rows().tensors["W_enc"] is sae.tensors["W_enc"]


def test_scaling_and_centring_are_independent():
    """b_dec is subtracted from the scaled input: undoing the scale divides it too, so that either order is the same."""
    sae, x = some("gated", centred=False, input_scale=0.3), activations()
    _, xhat = computed(sae, x)
    _, again = computed(sae.unscaled().centred_as(True), x)
    assert torch.allclose(again, xhat, atol=2e-5 * float(xhat.abs().max()))


@pytest.mark.parametrize("kind", ["relu", "gated", "topk", "topk_no_bias", "gated_no_r_mag"])
def test_own_stacks_there_and_back(kind):
    stack, x = made(kind), activations()
    sae = portable.from_stack(stack, 1)
    assert torch.allclose(computed(sae, x)[1], stack.reconstruct(x)[1], atol=1e-4)
    again = portable.to_stack(sae)
    assert torch.equal(again.W_dec[0], stack.W_dec[1]) and torch.equal(again.b_dec[0], stack.b_dec[1])


def test_a_step_off_norm_one_is_still_topk():
    tensors = some("topk").tensors
    for factor, name in ((1.005, "topk"), (1.05, "topk_free_norm")):
        rows = matrices(unit=True)["W_dec"] * factor
        assert portable.architecture(PortableSAE("topk", tensors | {"W_dec": rows}, True, k=K)) == name


def test_double_precision_stays():
    sae = some("relu")
    double = PortableSAE("relu", {n: t.double() for n, t in sae.tensors.items()}, True)
    assert portable.to_stack(portable.checked(double, "it")).W_enc.dtype == torch.float64


def test_what_cannot_be_is_refused():
    sae = some("batchtopk")
    unset = PortableSAE("batchtopk", sae.tensors | {"threshold": torch.tensor([-1.0])}, True, k=K)
    with pytest.raises(UserError, match="it is a BatchTopK SAE without a threshold"):
        portable.checked(unset, "it")
    with pytest.raises(UserError, match="it lacks b_dec, threshold"):
        lacking = {name: tensor for name, tensor in sae.tensors.items() if name not in ("b_dec", "threshold")}
        portable.checked(PortableSAE("jumprelu", lacking, True), "it")
