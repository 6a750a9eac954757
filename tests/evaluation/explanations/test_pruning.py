"""Planted latents get exactly their own patterns, and the batched procedure agrees with one that goes step by step."""

import pytest
import torch
from evaluation.explanations import planted
from evaluation.explanations.planted import LATENTS, PADDING, START, A, B, C

from saebook.common.errors import UserError
from saebook.evaluation.explanations.contexts import Contexts
from saebook.evaluation.explanations.pruning import WILDCARD, Pattern, Settings, patterns


def of(name, rows, **settings):
    """The different patterns that a planted latent gets from all places where it fires in `rows`."""
    rows, latent = torch.tensor(rows), [f.__name__ for f in LATENTS].index(name)
    places = planted.every_place(rows)
    mine = places.latent == latent
    places = Contexts(*(tensor[mine] for tensor in vars(places).values()))
    made = patterns(places, rows, planted.act, START, PADDING, Settings(**settings))
    assert all(one == latent for one, _ in made)
    return {pattern for _, pattern in made}


def test_latent_that_fires_on_a_after_b_gets_exactly_that_pattern():
    assert of("pair", [[5, 6, B, A, 5, A], [B, A, B, 5, A, A]]) == {Pattern((B, A), 2.0)}


def test_token_that_does_not_matter_becomes_a_wildcard():
    assert of("gap", [[5, B, 6, A, 5], [3, 3, B, 4, A]]) == {Pattern((B, WILDCARD, A), 3.0)}


def test_last_token_may_be_the_wildcard():
    assert of("after", [[5, B, 6, 5], [3, B, 4, 5]]) == {Pattern((B, WILDCARD), 1.5)}


def test_each_token_that_a_latent_fires_on_is_a_pattern():
    assert of("single", [[5, A, 6, C], [C, 5, 5, 5]]) == {Pattern((A,), 1.0), Pattern((C,), 4.0)}


def test_pattern_that_padding_ends_begins_with_the_start():
    assert of("opening", [[5, START, A, 6], [START, A, 5, A]]) == {Pattern((START, A), 5.0)}


def test_suffix_keeps_half_of_the_activation():
    assert of("faint", [[6, B, 5, 5, A]]) == {Pattern((B, WILDCARD, WILDCARD, A), 3.0)}
    assert of("faint", [[6, B, 5, 5, A]], kept=0.3) == {Pattern((A,), 1.0)}


def test_place_without_a_short_enough_suffix_gives_no_pattern():
    assert of("faint", [[6, B, 5, 5, A]], longest=3) == set()


@pytest.mark.parametrize("longest", [1, 2, 3, 6])
def test_agrees_with_a_twin_that_goes_step_by_step(longest):
    rows = torch.randint(10, (30, 12), generator=torch.Generator().manual_seed(longest))
    rows[:, ::3] = torch.where(rows[:, ::3] < 5, B, rows[:, ::3])
    places = planted.every_place(rows)
    assert len(places.latent.unique()) == len(LATENTS)
    made = patterns(places, rows, planted.act, START, PADDING, Settings(longest=longest))
    at = zip(*(tensor.tolist() for tensor in vars(places).values()), strict=True)
    slow = [(latent, planted.slow_pattern(rows[row, : p + 1].tolist(), latent, v, longest)) for latent, row, p, v in at]
    key = lambda one: (one[0], one[1].tokens)  # noqa: E731
    assert sorted(made, key=key) == sorted((one for one in slow if one[1]), key=key)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"strongest": 0, "drawn": 0}, "at least one place"),
        ({"strongest": -1}, "at least one place"),
        ({"longest": 0}, "at least one token"),
        ({"kept": 0.0}, "lies above 0"),
    ],
)
def test_settings_out_of_bounds_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        Settings(**settings)


def test_pattern_reads_as_text(small_subject):
    ids = small_subject.tokenizer(" the model", add_special_tokens=False)["input_ids"]
    assert Pattern((WILDCARD, *ids), 1.0).text(small_subject.tokenizer) == "[*] the model"


def test_pattern_fits_the_end_of_a_text():
    pattern = Pattern((B, WILDCARD, A), 1.0)
    assert pattern.fits([B, 5, A]) and pattern.fits([A, B, B, A])
    assert not any(map(pattern.fits, ([5, A], [B, 5, A, 5], [A, 5, A], [])))
