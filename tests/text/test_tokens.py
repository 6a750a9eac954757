"""Packed rows of tokens: complete, in order, cached, and made again when the cache is damaged."""

import numpy as np
import pytest

from saebook.common.errors import UserError
from saebook.text import sources, tokens


def test_rows_hold_every_token_in_order_and_decode_back(folder, tmp_path):
    text = sources.corpus(f"folder:{folder}")
    tokenizer = tokens.train_tokenizer(text.train, 400, tmp_path / "tokenizer")
    rows = tokens.tokens(f"folder:{folder}", tokenizer, "train", 16)
    assert rows.dtype == np.uint16 and rows.shape[1] == 16 and isinstance(rows, np.memmap)
    whole = tokens.END.join(d.text for d in text.train) + tokens.END
    assert whole.startswith(tokenizer.decode(rows.reshape(-1).tolist()))
    assert np.array_equal(rows, tokens.tokens(f"folder:{folder}", tokenizer, "train", 16))
    held = tokens.tokens(f"folder:{folder}", tokenizer, "validation", 16)
    assert tokenizer.decode(held[0].tolist()) in tokens.END.join(d.text for d in text.validation) + tokens.END


@pytest.mark.parametrize("how", ["halved", "damaged header", "one byte changed", "empty"])
def test_damaged_cache_is_reported_and_packed_again(folder, tmp_path, capsys, how):
    source = f"folder:{folder}"
    tokenizer = tokens.train_tokenizer(sources.corpus(source).train, 400, tmp_path / "tokenizer")
    rows = np.array(tokens.tokens(source, tokenizer, "train", 16))
    (file,) = (tmp_path / "cache" / "tokens").glob("*.npy")
    content = file.read_bytes()
    half = len(content) // 2
    file.write_bytes(
        {
            "halved": content[:half],
            "damaged header": b"\0" * 64 + content[64:],
            "one byte changed": content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :],
            "empty": b"",
        }[how]
    )
    assert np.array_equal(tokens.tokens(source, tokenizer, "train", 16), rows)
    assert "is damaged; making it again" in capsys.readouterr().out
    assert np.array_equal(tokens.tokens(source, tokenizer, "train", 16), rows) and not capsys.readouterr().out


def test_tokenizer_without_an_end_of_text_token_is_refused(folder):
    class Tokenizer:
        eos_token_id = None

        def __len__(self):
            return 400

    with pytest.raises(UserError, match="no end-of-text token"):
        tokens.pack(sources.corpus(f"folder:{folder}").train, Tokenizer(), 16)
