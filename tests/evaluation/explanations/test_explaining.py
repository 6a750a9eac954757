"""SAEs of a small model: explanations end to end, beside activations that are computed one by one."""

import pytest
import torch
from evaluation.explanations import planted

from saebook.common.errors import UserError
from saebook.evaluation.explanations import explaining
from saebook.evaluation.explanations.contexts import code_of, firing
from saebook.evaluation.explanations.pruning import Settings
from saebook.evaluation.explanations.tries import Explanations
from saebook.sae.base import Member
from saebook.sae.registry import build


@pytest.fixture(scope="module")
def rows():
    return torch.randint(1, 300, (40, 32), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def site(small_subject):
    return small_subject.site("resid_post", 1)


def sae(architecture="topk", sparsity=3.0, **options):
    return build(architecture, 32, 24, (Member(0, sparsity),), per_token=True, **options)


def test_activation_at_the_last_token_is_that_of_the_sequence_alone(small_subject, site, monkeypatch):
    monkeypatch.setitem(explaining._SEQUENCES, "cpu", 7)
    made, latents = sae(), torch.tensor([3, 8, 20])
    sequences = torch.randint(1, 4, (50, 3), generator=torch.Generator().manual_seed(1))
    of = torch.randint(3, (50,), generator=torch.Generator().manual_seed(2))
    act = explaining.at_last_token(small_subject, site, code_of(made, latents))
    expected = [
        made.encode(made.prepare(small_subject.activations(one[None], site)[0, -1:])[0])[0, 0, latents[which]]
        for one, which in zip(sequences, of, strict=True)
    ]
    assert torch.allclose(act(sequences, of), torch.stack(expected), atol=1e-5)


@pytest.mark.parametrize(("architecture", "sparsity"), [("topk", 3.0), ("relu", 1.0)])
def test_agrees_with_a_twin_that_runs_one_sequence_after_another(small_subject, site, rows, architecture, sparsity):
    made, latents = sae(architecture, sparsity), [2, 3, 11]
    explanations = explaining.explain(small_subject, site, made, latents, rows, Settings(4, 4, 3))
    x = explaining.read(small_subject, site, rows)
    places = firing(x, code_of(made, torch.tensor(latents)), 24, 4, 4, skip=1, seed=0)

    def one(sequence, latent):
        f = made.encode(made.prepare(small_subject.activations(sequence, site)[:, -1])[0])
        return f[0, 0, latents[latent]].detach()

    marks = {
        "start": small_subject.tokenizer.eos_token_id,
        "padding": explaining.padding_token(small_subject.tokenizer),
    }
    slow = [
        (latent, planted.slow_pattern(rows[row, : at + 1].tolist(), latent, value, 3, act=one, **marks))
        for latent, row, at, value in zip(*(tensor.tolist() for tensor in vars(places).values()), strict=True)
    ]
    explained = [(latent, pattern) for latent, pattern in slow if pattern]
    expected = Explanations.of(latents, explained, explanations.largest, 300, len(places))
    assert explanations.places == len(places) and explanations.unexplained == sum(one[1] is None for one in slow)
    for mine, theirs in zip(explanations.patterns, expected.patterns, strict=True):
        values = {pattern.tokens: pattern.value for pattern in theirs}
        assert {pattern.tokens: pattern.value for pattern in mine} == pytest.approx(values, rel=1e-4)
    assert sum(map(len, explanations.patterns)) > 4


def test_same_seed_gives_the_same_explanations(small_subject, site, rows):
    x = explaining.read(small_subject, site, rows)
    settings = Settings(strongest=0, drawn=3, longest=2)
    one, same, other = (
        explaining.explain(small_subject, site, sae(), [1, 5], rows, settings, seed=seed, activations=given)
        for seed, given in ((0, None), (0, x), (1, x))
    )
    assert one == same and one != other


@pytest.mark.parametrize(
    ("latents", "longest", "words"), [([24], 2, "0 to 23"), ([], 2, "0 to 23"), ([0], 31, "do not fit")]
)
def test_what_cannot_be_explained_is_refused(small_subject, site, rows, latents, longest, words):
    with pytest.raises(UserError, match=words):
        explaining.explain(small_subject, site, sae(), latents, rows, Settings(longest=longest))
