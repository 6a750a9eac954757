"""Colours that can be told from the ground of a page, light or dark."""

import colorsys

LIGHT, DARK = "#ffffff", "#121212"  # the theme's grounds
LEAST = 3.2  # WCAG asks for 3 of graphics


def luminance(colour: str) -> float:
    """The relative luminance of a colour (#RRGGBB) as WCAG 2 defines it."""
    parts = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in _parts(colour)]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def readable(colour: str, ground: str) -> str:
    """The colour of the same hue that is nearest in lightness and stands out from `ground` by `LEAST`."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*_parts(colour))
    step = -0.01 if luminance(ground) > 0.5 else 0.01
    while contrast(colour, ground) < LEAST:  # black and white stand out from any page
        lightness = min(1.0, max(0.0, lightness + step))
        colour = "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, lightness, saturation))
    return colour.lower()


def _parts(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue
