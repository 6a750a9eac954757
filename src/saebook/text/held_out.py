"""Which held-out rows measure an SAE, and which choose its recipe: two parts of the validation text that share no row.

Held-out rows lie in the order of their documents, so the first of them are a few documents of one kind. Here they are put in
one random order, the same for everyone. A third of it chooses (rates, shapes), the rest judges. Letters: N rows, T positions.
"""

import numpy as np

from saebook.common.errors import UserError
from saebook.text.tokens import tokens

JUDGING, CHOOSING = "judging", "choosing"
PARTS = (JUDGING, CHOOSING)
_ORDER = 20261124  # seeds the order of the rows; no run has a say in it


def held_out(source: str, tokenizer, context: int, count: int | None = None, part: str = JUDGING) -> np.ndarray:
    """Up to `count` rows [N, T] of one part of a text source's validation rows, drawn at random; None for all of them.

    More rows contain the fewer. Raises `UserError` when the text has less than two rows.
    """
    rows = tokens(source, tokenizer, "validation", context)
    return np.asarray(rows[places(len(rows), part)[:count]])


def places(total: int, part: str = JUDGING) -> np.ndarray:
    """Where the rows of a part are among `total` validation rows, in the order in which they are drawn."""
    if total < len(PARTS):
        raise UserError(
            f"the validation text has {total} row: give it at least {len(PARTS)}, to choose on and to judge on"
        )
    order, choosing = np.random.default_rng(_ORDER).permutation(total), max(1, total // 3)
    return {JUDGING: order[: total - choosing], CHOOSING: order[total - choosing :]}[part]
