"""The names of papers and tiers, and the one spelling of a chapter: `paper/name`."""

PAPERS = {
    "checks": "Checks",
    "gated": "Gated",
    "topk": "Top-k",
    "e2e": "e2e",
    "beyond": "Beyond",
}  # folder -> name on a page, in book order
TIERS = ("smoke", "cpu", "overnight", "gpu", "paper")  # from the least to the most that a result can show
