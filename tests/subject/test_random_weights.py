"""A control has its subject's shape and tokenizer and weights that nothing trained: the same ones on every machine."""

import pytest
import torch

from saebook.common.errors import UserError
from saebook.subject import random_weights
from saebook.subject.blocks import WrittenOut
from saebook.subject.model import Subject

EMBEDDED = [0.002514604479074478, -0.002642097184434533, 0.012808453291654587]


@pytest.fixture(scope="module")
def control(small_subject_folder):
    return Subject.load(f"{small_subject_folder}:random", device="cpu")


def test_name_of_a_control():
    assert random_weights.is_control("prose-4l128:random") and not random_weights.is_control("prose-4l128")
    assert random_weights.trained("prose-4l128:random") == random_weights.trained("prose-4l128") == "prose-4l128"


def test_control_has_the_shape_and_tokenizer_of_its_subject_and_its_own_name_and_weights(control, small_subject):
    assert control.name == f"{small_subject.name}:random"
    assert control.weights_hash != small_subject.weights_hash
    assert (control.n_layers, control.d_model, control.context) == (3, 32, 32)
    assert control.tokenizer.get_vocab() == small_subject.tokenizer.get_vocab()
    assert isinstance(control.forward, WrittenOut)
    assert next(control.bridge.parameters()).dtype == torch.float32


def test_weights_are_the_same_every_time_whatever_torch_drew_before(control, small_subject_folder):
    torch.manual_seed(123)
    assert Subject.load(f"{small_subject_folder}:random", device="cpu").weights_hash == control.weights_hash


def test_weights_of_the_embedded_control_do_not_depend_on_the_machine(embedded_folder):
    weights = random_weights.model(str(embedded_folder), torch.float32).state_dict()
    assert weights["transformer.h.0.attn.c_attn.weight"][0, :3].tolist() == pytest.approx(EMBEDDED, rel=0, abs=0)


def test_initialisation_is_transformers_own_rule(family_folders):
    """Every matrix has the deviation that transformers' own initialisation has, every vector its very values."""
    from transformers import AutoConfig, AutoModelForCausalLM

    for folder in family_folders.values():
        torch.manual_seed(0)
        theirs = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)).state_dict()
        ours = random_weights.model(str(folder), torch.float32).state_dict()
        assert ours.keys() == theirs.keys()
        for name, weight in ours.items():
            if weight.ndim < 2:
                assert torch.equal(weight, theirs[name]), name
            else:
                assert float(weight.std()) == pytest.approx(float(theirs[name].std()), rel=0.08), name
                assert abs(weight.mean()) < 5 * weight.std() / weight.numel() ** 0.5, name
                assert not torch.equal(weight, theirs[name]), name


def test_tied_weights_stay_tied(family_folders):
    for family in ("gpt2", "llama-tied"):
        made = random_weights.model(str(family_folders[family]), torch.float32)
        assert made.get_input_embeddings().weight is made.get_output_embeddings().weight


def test_activations_and_losses_are_those_of_a_model_that_knows_nothing(control, small_subject):
    tokens = torch.randint(0, 300, (2, 16), generator=torch.Generator().manual_seed(0))
    for kind in ("resid_post", "mlp_out", "attn_z"):
        site = control.site(kind, 1)
        ours, theirs = (subject.activations(tokens, site) for subject in (control, small_subject))
        assert ours.shape == theirs.shape and ours.isfinite().all() and not torch.allclose(ours, theirs)
    site = control.site("resid_post", 1)
    assert torch.allclose(control.loss(tokens, site, lambda x: x), control.loss(tokens), atol=1e-5)
    assert control.logits(tokens).shape == (2, 16, 300)


def test_unknown_name_is_answered_in_one_line():
    with pytest.raises(UserError, match="subject 'nosuch' is not an embedded subject") as caught:
        Subject.load("nosuch:random", device="cpu")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="a subject needs a name"):
        Subject.load(":random", device="cpu")
