"""Elements of inline SVG. Places across are in percent, so that a picture is as wide as its reader's page."""

from html import escape

# Marks of a series, by the names that matplotlib has for them, around the origin and about 9 pixels wide.
MARKS = {
    "o": '<circle r="4"/>', "s": '<rect x="-3.6" y="-3.6" width="7.2" height="7.2"/>', "^": '<path d="M0-4.8 4.6 3.6-4.6 3.6Z"/>',
    "v": '<path d="M0 4.8 4.6-3.6-4.6-3.6Z"/>', "D": '<path d="M0-5 5 0 0 5-5 0Z"/>',
    "P": '<path d="M-1.7-4.6h3.4v2.9h2.9v3.4h-2.9v2.9h-3.4v-2.9h-2.9v-3.4h2.9Z"/>',
    "X": '<path transform="rotate(45)" d="M-1.7-4.6h3.4v2.9h2.9v3.4h-2.9v2.9h-3.4v-2.9h-2.9v-3.4h2.9Z"/>',
    "<": '<path d="M-4.8 0 3.6-4.6 3.6 4.6Z"/>', ">": '<path d="M4.8 0-3.6 4.6-3.6-4.6Z"/>',
}  # fmt: skip


def percent(share: float) -> str:
    """A share of the width, from 0 to 1, as a length."""
    return f"{100 * share:.2f}%"


def placed(x: str, y: float, shape: str) -> str:
    """A shape with its origin at a place."""
    return f'<svg x="{x}" y="{y:g}" overflow="visible">{shape}</svg>'


def line(kind: str, x: tuple[str, str], y: tuple[float, float]) -> str:
    """A straight line of a `kind`, which is what the style sheet knows it by."""
    return f'<line class="{kind}" x1="{x[0]}" x2="{x[1]}" y1="{y[0]:g}" y2="{y[1]:g}"/>'


def text(x: str, y: float, words: str, anchor: str = "middle") -> str:
    """Words at a place, escaped."""
    return f'<text x="{x}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>'


def key(marker: str, open_: bool = False) -> str:
    """The mark of a series on its own, for a legend."""
    kind = "key open" if open_ else "key"
    return f'<svg class="{kind}" viewBox="-8 -8 16 16" aria-hidden="true">{MARKS[marker]}</svg>'
