"""Files are opened without running what is in them, and what is no file of tensors is named in one line."""

import numpy as np
import pytest
import torch

from saebook.common.errors import UserError
from saebook.formats import opening


class Runs:
    """An object whose unpickling would run code."""

    def __reduce__(self):
        return (pytest.fail, ("code of a file was run",))


@pytest.mark.parametrize("content", [{"a": Runs()}, Runs(), {"a": np.array([1, "text"], dtype=object)}])
def test_code_in_a_file_is_not_run(tmp_path, content):
    torch.save(content, tmp_path / "sae.pt")
    with pytest.raises(UserError, match=r"sae\.pt cannot be read as tensors") as refused:
        opening.pickled(tmp_path / "sae.pt")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("raw", [b"", b"text", b"PK\x03\x04 a broken archive", b"\x80\x02}q\x00."])
def test_damaged_files(tmp_path, raw):
    (tmp_path / "sae.pt").write_bytes(raw)
    with pytest.raises(UserError, match=r"sae\.pt (cannot be read as tensors|holds no dictionary)"):
        opening.pickled(tmp_path / "sae.pt")
    (tmp_path / "sae.safetensors").write_bytes(raw)
    with pytest.raises(UserError, match=r"sae\.safetensors cannot be read as tensors"):
        opening.safe(tmp_path / "sae.safetensors")


@pytest.mark.parametrize("content", [[torch.zeros(2)], {3: torch.zeros(2)}, torch.zeros(2)])
def test_other_content(tmp_path, content):
    torch.save(content, tmp_path / "sae.pt")
    with pytest.raises(UserError, match="holds no dictionary of tensors"):
        opening.pickled(tmp_path / "sae.pt")


@pytest.mark.parametrize(
    ("name", "text"), [("a.json", "{"), ("a.json", "[]"), ("a.yaml", "a: b: c"), ("a.yaml", "- 1")]
)
def test_descriptions(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=r"cannot be read|holds no mapping") as refused:
        opening.described(tmp_path / name)
    assert "\n" not in str(refused.value)


def test_numbers_and_tensors_are_what_they_should_be(tmp_path):
    file = tmp_path / "sae.pt"
    assert opening.number({"k": torch.tensor(4)}, "k", file) == 4 and opening.number({}, "k", file) is None
    for wrong in (True, 1.5, "4", torch.tensor(4.5), torch.tensor([4, 5])):
        with pytest.raises(UserError, match="which is no whole number"):
            opening.number({"k": wrong}, "k", file)
    with pytest.raises(UserError, match=r"sae\.pt lacks bias, weight"):
        opening.tensors_of({"bias": 3}, {"b_dec": "bias", "W_dec": "weight"}, file)
