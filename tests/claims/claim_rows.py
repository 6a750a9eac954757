"""The fields that every made-up claim of these tests shares."""

COMMON = {
    "id": "gated.a",
    "where": "w",
    "claim": "c",
    "source": "s",
    "quantity": "q",
    "live": "key",
    "notebook": "gated/note",
}
