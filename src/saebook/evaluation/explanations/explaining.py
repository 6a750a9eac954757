"""Explain latents by token patterns, all of an SAE's together. Letters: N rows, T positions, D d_in, B sequences, L tokens."""

from collections.abc import Iterable

import torch
from torch import Tensor

from saebook.common.errors import UserError
from saebook.evaluation.explanations.contexts import Code, code_of, firing
from saebook.evaluation.explanations.pruning import LastToken, Settings, patterns
from saebook.evaluation.explanations.tries import Explanations
from saebook.sae.base import SAEStack
from saebook.subject.model import Site, Subject

PADDING = " _"  # of the paper's released code: a token that says next to nothing
_SEQUENCES = {"cpu": 2**13, "cuda": 2**17}  # sequences whose doubles are looked for together
_TOKENS = {"cpu": 2**12, "cuda": 2**18}  # tokens of one pass of the subject
_ROWS = 16  # rows of text in one pass of the subject


def explain(
    subject: Subject, site: Site, sae: SAEStack, latents: Iterable[int], rows: Tensor, settings: Settings | None = None,
    skip: int = 1, seed: int = 0, activations: Tensor | None = None,
) -> Explanations:  # fmt: skip
    """Token patterns of `latents` of a stack of one, from where they fire in `rows` [N, T].

    `activations` [N, T, D] of these rows may be given where they are known. `seed` draws the places that are not the strongest.
    The first `skip` positions of a row do not count. Raises `UserError` for a latent that the SAE does not have, or a pattern
    that would not fit into the model's context.
    """
    settings = settings or Settings()
    latents = [int(latent) for latent in latents]
    if not latents or not 0 <= min(latents) <= max(latents) < sae.d_sae:
        raise UserError(f"latents to explain must be numbers from 0 to {sae.d_sae - 1}")
    if settings.longest + 2 > subject.context:
        raise UserError(
            f"patterns of {settings.longest} tokens do not fit: {subject.name} takes {subject.context - 2} here"
        )
    rows = rows.to(subject.device)
    x = read(subject, site, rows) if activations is None else activations
    code = code_of(sae, torch.tensor(latents, device=x.device))
    places = firing(x, code, sae.d_sae, settings.strongest, settings.drawn, skip, seed)
    start, padding = subject.tokenizer.eos_token_id, padding_token(subject.tokenizer)
    made = patterns(places, rows, at_last_token(subject, site, code), start, padding, settings)
    largest = torch.zeros(len(latents), device=x.device).scatter_reduce_(0, places.latent, places.value, "amax")
    return Explanations.of(latents, made, largest.tolist(), subject.bridge.cfg.d_vocab, len(places))


def read(subject: Subject, site: Site, rows: Tensor) -> Tensor:
    """Activations [N, T, D] of `rows` [N, T], a few rows at a time."""
    return torch.cat([subject.activations(part, site) for part in rows.split(_ROWS)])


def padding_token(tokenizer) -> int:
    """The token that stands for nothing in particular: the last of `PADDING`, which GPT-2's tokeniser makes one."""
    return tokenizer(PADDING, add_special_tokens=False)["input_ids"][-1]


def at_last_token(subject: Subject, site: Site, code: Code) -> LastToken:
    """A latent's activation at the last token of a sequence. Many sequences occur more than once; each runs once."""
    kind = subject.device.type
    together, at_once = _SEQUENCES.get(kind, _SEQUENCES["cpu"]), _TOKENS.get(kind, _TOKENS["cpu"])

    def act(sequences: Tensor, latents: Tensor) -> Tensor:
        values = []
        for some, of in zip(sequences.split(together), latents.split(together), strict=True):
            unique, which = some.unique(dim=0, return_inverse=True)
            parts = unique.split(max(1, at_once // unique.shape[1]))
            f = torch.cat([code(subject.activations(part, site)[:, -1]) for part in parts])
            values.append(f[which, of])
        return torch.cat(values)

    return act
