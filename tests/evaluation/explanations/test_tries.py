"""Predictions of planted patterns, and of random ones beside a walk through one trie after another."""

import torch
from evaluation.explanations import planted
from evaluation.explanations.planted import LATENTS, PADDING, START, A, B, C

from saebook.evaluation.explanations.pruning import WILDCARD, Pattern, Settings, patterns
from saebook.evaluation.explanations.tries import Explanations


def explained(*of_latents):
    made = [(latent, pattern) for latent, each in enumerate(of_latents) for pattern in each]
    return Explanations.of(range(len(of_latents)), made, [1.0] * len(of_latents), 10, len(made))


def test_patterns_predict_where_they_match_and_zero_elsewhere():
    made = explained([Pattern((B, A), 2.0)], [Pattern((B, WILDCARD, A), 3.0)], [])
    tokens = torch.tensor([[B, A, A, 5], [A, B, B, A]])
    assert made.predict(tokens)[..., 0].tolist() == [[0, 2, 0, 0], [0, 0, 0, 2]]
    assert made.predict(tokens)[..., 1].tolist() == [[0, 0, 3, 0], [0, 0, 0, 3]]
    assert not made.predict(tokens)[..., 2].any()


def test_match_does_not_cross_into_the_row_before():
    assert not explained([Pattern((B, A), 2.0)]).predict(torch.tensor([[5, B], [A, 5]])).any()


def test_exact_token_is_preferred_and_no_walk_turns_back():
    made = explained([Pattern((C, B, A), 1.0), Pattern((5, WILDCARD, A), 2.0)])
    tokens = torch.tensor([[C, B, A], [5, 6, A], [5, B, A]])
    assert made.predict(tokens)[:, 2, 0].tolist() == [1.0, 2.0, 0.0]


def test_shorter_pattern_hides_longer_ones():
    made = explained([Pattern((A,), 1.0), Pattern((B, A), 9.0)])
    assert made.predict(torch.tensor([[B, A]]))[0, 1, 0] == 1.0


def test_equal_patterns_become_one_of_their_mean_value():
    made = explained([Pattern((A,), 1.0), Pattern((A,), 2.0)])
    assert made.patterns == ((Pattern((A,), 1.5),),) and (made.places, made.unexplained) == (2, 0)


def test_random_patterns_predict_what_one_walk_after_another_predicts():
    generator = torch.Generator().manual_seed(0)
    of_latents = []
    for _ in range(8):
        lengths = torch.randint(1, 5, (12,), generator=generator).tolist()
        drawn = [torch.randint(-1, 6, (n,), generator=generator).tolist() for n in lengths]
        of_latents.append([Pattern(tuple(ids), float(i + 1)) for i, ids in enumerate({tuple(one): 0 for one in drawn})])
    tokens = torch.randint(6, (20, 9), generator=generator)
    predicted = explained(*of_latents).predict(tokens)
    slow = [[[planted.slow_predict(m, row[: t + 1]) for m in of_latents] for t in range(9)] for row in tokens.tolist()]
    assert torch.equal(predicted, torch.tensor(slow)) and 0 < (predicted > 0).float().mean() < 1


def test_planted_latents_are_predicted_exactly_where_they_fire_in_another_text():
    generator = torch.Generator().manual_seed(1)
    seen, other = (torch.randint(10, (200, 12), generator=generator) for _ in range(2))
    places = planted.every_place(seen)
    made = patterns(places, seen, planted.act, START, PADDING, Settings(longest=4))
    predicted = Explanations.of(range(len(LATENTS)), made, [5.0] * len(LATENTS), 10).predict(other)
    actual = planted.activations(other)
    for name in ("pair", "gap", "single", "opening", "after"):
        latent = [f.__name__ for f in LATENTS].index(name)
        assert torch.equal(predicted[..., latent], actual[..., latent]), name


def test_no_pattern_at_all_predicts_nothing():
    assert not explained([], []).predict(torch.randint(10, (3, 4))).any()
