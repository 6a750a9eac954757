"""Shared fixtures: a small subject, made once and never downloaded."""

import os
import shutil
import signal

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["SAEBOOK_PRECISION"] = "fp32"  # whatever a probe of this processor would say
os.environ["SAEBOOK_ACTIVATIONS_GIB"] = "0"  # made-up models leave nothing in the reader's cache
os.environ.setdefault("TRITON_INTERPRET", "1")  # Triton reads it when first imported: its kernels run without a GPU

import pytest
import torch

from saebook.text.prose import Document

# Tests in a browser need a rendered book: `make browser`.
collect_ignore = [] if "SAEBOOK_RENDERED" in os.environ else ["browser"]


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def interrupts_arrive():
    """A shell starts background jobs with SIGINT ignored, and what they start inherits that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def small_documents() -> list[Document]:
    """Forty short documents of varied English-like text."""
    words = [
        "the",
        "model",
        "of",
        "a",
        "sparse",
        "code",
        "learns",
        "to",
        "read",
        "features",
        "from",
        "the",
        "stream",
        "and",
        "it",
        "writes",
        "them",
        "back",
        "again",
    ]
    generator = torch.Generator().manual_seed(0)
    documents = []
    for number in range(40):
        picks = torch.randint(len(words), (160,), generator=generator).tolist()
        documents.append(Document(f"{number}.txt", " ".join(words[i] for i in picks)))
    return documents


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory):
    """A folder of 200 texts, none like another, so that the fixed share by path holds some out."""
    folder = tmp_path_factory.mktemp("texts")
    generator = torch.Generator().manual_seed(1)
    syllables = ["ka", "lo", "mi", "ru", "se", "ta", "no", "ve", "du", "pi"]
    for number in range(200):
        picks = torch.randint(10, (120, 3), generator=generator).tolist()
        (folder / f"{number}.txt").write_text(" ".join("".join(syllables[i] for i in word) for word in picks))
    return folder


@pytest.fixture(scope="session")
def small_subject_folder(tmp_path_factory, small_documents):
    """A random GPT-2 of 3 layers, d_model 32, vocabulary 300, context 32, as a Hugging Face folder."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from saebook.text.tokens import train_tokenizer

    folder = tmp_path_factory.mktemp("subject") / "tiny"
    folder.mkdir()
    tokenizer = train_tokenizer(small_documents, 300, folder)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=300, n_positions=32, n_embd=32, n_layer=3, n_head=4, resid_pdrop=0.0, embd_pdrop=0.0,
            attn_pdrop=0.0, initializer_range=0.2, bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def small_subject(small_subject_folder):
    from saebook.subject.model import Subject

    return Subject.load(str(small_subject_folder), device="cpu")


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of everything that provenance reads, which a test may change."""
    from saebook.claims import provenance
    from saebook.common import paths

    root = paths.root()
    for name in ("_config.yml", "requirements.lock"):
        shutil.copy(root / name, tmp_path)
    shutil.copytree(root / "notebooks", tmp_path / "notebooks")
    for name in ("papers", "subjects"):
        shutil.copytree(root / "data" / name, tmp_path / "data" / name)
    shutil.copytree(root / "src" / "saebook", tmp_path / "saebook", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("SAEBOOK_HOME", str(tmp_path))
    monkeypatch.setattr(provenance, "_home", lambda: tmp_path / "saebook")
    return tmp_path
