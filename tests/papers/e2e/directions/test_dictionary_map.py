"""Two dictionaries on one map: planted separation is read back, and mixed ones are told from it."""

import numpy as np
import pandas as pd
import pytest
import torch

from saebook.common.errors import UserError
from saebook.papers.e2e.directions import dictionary_map
from saebook.sae.base import Member
from saebook.sae.registry import build


def test_share_of_own_kind_is_one_for_a_mixture_and_more_for_separate_ones():
    generator = np.random.default_rng(0)
    mixed = generator.standard_normal((300, 2))
    kinds = ["a"] * 100 + ["b"] * 200
    assert dictionary_map.own_kind(mixed, kinds).mean() == pytest.approx(1.0, abs=0.08)
    apart = mixed + np.array([[20.0, 0.0]]) * (np.arange(300) < 100)[:, None]
    read = dictionary_map.own_kind(apart, kinds)
    assert read[:100].mean() == pytest.approx(299 / 99) and read[100:].mean() == pytest.approx(299 / 199)


def test_regions_of_one_kind_come_first():
    generator = np.random.default_rng(0)
    centres = np.repeat([[0, 0], [20, 0], [0, 20]], 40, axis=0)
    places = centres + generator.standard_normal((120, 2))
    kinds = ["a"] * 40 + ["a", "b"] * 20 + ["b"] * 30 + ["a"] * 10
    placed = pd.DataFrame({"kind": kinds, "x": places[:, 0], "y": places[:, 1]})
    cut = dictionary_map.regions(placed, 3)
    assert cut.share.tolist() == pytest.approx([1.0, 0.75, 0.5]) and cut.kind[0] == "a" and cut.kind[1] == "b"
    assert placed.groupby("region").size().tolist() == [40, 40, 40]


def test_context_shows_the_token_at_which_a_latent_is_strongest(small_subject):
    site = small_subject.site("resid_pre", 1)
    rows = torch.randint(300, (6, 32), generator=torch.Generator().manual_seed(2))
    sae = build("normalised_relu", 32, 24, (Member(0, 1.0),))
    x = small_subject.activations(rows, site)
    with torch.no_grad():
        f = sae.encode(x.flatten(0, 1))[0].view(6, 32, -1)
        sae.b_enc[0, 7] = -1e6  # never fires
    row, place = divmod(int(f[..., 5].flatten().argmax()), 32)
    shown = dictionary_map.contexts(sae, [5, 7], small_subject, site, rows)
    assert len(shown[5]) == 2 and shown[7] == []
    token = small_subject.tokenizer.decode([int(rows[row, place])])
    assert "".join(token.split()) in "".join(shown[5][0].split("⟨")[1].split("⟩")[0].split())
    latents, directions = dictionary_map.alive(sae, small_subject, site, rows)
    assert 7 not in latents and latents.tolist() == [i for i in range(24) if i != 7 and bool((f[..., i] > 0).any())]
    assert directions.norm(dim=1).tolist() == pytest.approx([1.0] * len(latents))


def test_a_local_dictionary_is_paired_with_those_of_the_next_seed():
    directions = {(m, s): torch.full((2, 3), 10.0 * i + s) for i, m in enumerate(("local", "e2e")) for s in (0, 1, 2)}
    pairs = dictionary_map.pairs(directions, ["e2e", "local"])
    assert len(pairs) == 6 and list(pairs["e2e", 2]) == ["local", "e2e"] and list(pairs["local", 0])[1] == "local again"
    assert float(pairs["e2e", 2]["e2e"][0, 0]) == 10.0 and float(pairs["local", 0]["local again"][0, 0]) == 1.0


def test_one_sidedness_of_a_dictionary_and_its_copy_is_below_that_of_two_that_lie_apart():
    own = torch.nn.functional.normalize(torch.randn(60, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    near = torch.nn.functional.normalize(own + 0.01, dim=1)
    far = torch.nn.functional.normalize(own + 9.0, dim=1)
    assert (
        dictionary_map.one_sidedness({"a": own, "b": near}) < 1.05 < dictionary_map.one_sidedness({"a": own, "b": far})
    )


def test_regions_are_described_by_elements_of_their_own_kind(small_subject):
    site, rows = small_subject.site("resid_pre", 1), torch.arange(96).view(3, 32)
    sae = build("normalised_relu", 32, 24, (Member(0, 1.0),))
    placed = pd.DataFrame({"kind": ["a", "b", "a"], "element": [0, 0, 1], "region": [4, 4, 4]})
    cut = pd.DataFrame([{"region": 4, "elements": 3, "kind": "a", "share": 2 / 3}])
    latents = dictionary_map.alive(sae, small_subject, site, rows)[0]
    read = dictionary_map.described(placed, cut, {"a": (sae, latents)}, small_subject, site, rows)
    assert set(read.element) == set(latents[:2].tolist()) and (read.kind == "a").all() and read.text.str.len().min() > 0


def test_map_keeps_planted_groups_apart_and_comes_out_the_same_again():
    generator = torch.Generator().manual_seed(0)
    one, other = torch.nn.functional.normalize(torch.randn(2, 16, generator=generator), dim=1)
    directions = {
        kind: torch.nn.functional.normalize(centre + 0.1 * torch.randn(40, 16, generator=generator), dim=1)
        for kind, centre in (("local", one), ("e2e", other))
    }
    placed = dictionary_map.embedded(directions)
    assert len(placed) == 80 and placed.kind.tolist() == ["local"] * 40 + ["e2e"] * 40
    assert dictionary_map.own_kind(placed[["x", "y"]].to_numpy(), placed.kind).mean() > 1.9
    assert placed.equals(dictionary_map.embedded(directions))
    with pytest.raises(UserError, match="at least four elements"):
        dictionary_map.embedded({"local": torch.eye(3)})
