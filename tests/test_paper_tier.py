"""A dry run of the paper tier: the cells of its notebooks as they are, by hub names and streamed text, with tiny models.

A stand-in for the hub serves models of the papers' families, with all their layers and a width of 16, and data sets of this
repository's own source. Where a sidecar's paper tier says which model, text, layers and sites, the dry run keeps it; every number
that is only large comes from the smoke tier. So what is shown is that the way works, and nothing about the papers. Chapters
assert that what was trained beats its controls; a model that knows so little need not, so Python leaves assertions out.

Chapters with a budget of their own run in every test. SAEBOOK_DRY_RUN names others, or `all` (`make rehearse`, once a week).
"""

import itertools
import json
import os
import shutil
import subprocess
import sys

import pyarrow
import pyarrow.parquet
import pytest
import torch
import yaml
from subject.hub_mirror import serving
from transformers import (
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
)

from saebook.book import budgets
from saebook.book.brought import naming
from saebook.common import paths, sidecar
from saebook.common.limits import SubjectBudget
from saebook.formats import conversion
from saebook.formats.portable import Origin
from saebook.sae import registry
from saebook.sae.base import Member

WIDTH, CONTEXT = 16, 64
KEPT = ("subject", "source", "site", "sites", "layer", "layers", "skip", "beside")  # what the paper tier is about
SHARED = ("data", "_config.yml", "requirements.lock")  # of this repository, read by every notebook
_RUN = """
import os, sys, time, traceback
import matplotlib
matplotlib.use("agg")
from IPython.core.interactiveshell import InteractiveShell
from matplotlib import pyplot
from saebook.book.running import runner
from saebook.common.notebook import cells

shell = InteractiveShell.instance()
for name in sys.argv[1:]:
    begun = time.monotonic()
    shell.reset(new_session=False)
    try:
        file = runner.request(name, "paper").file
        os.chdir(file.parent)
        for cell in cells(file):
            if cell.type == "code":
                shell.run_cell(cell.source).raise_error()
            if "parameters" in cell.tags:
                shell.run_cell("tier = 'paper'").raise_error()
        print(f"{name}: ok in {time.monotonic() - begun:.0f} s", flush=True)
    except Exception as error:
        traceback.print_exc()
        print(f"{name}: failed, {type(error).__name__}: {error}", flush=True)
    pyplot.close("all")
"""


def is_streamed(name):
    budget = budgets.resolve(name, "paper")
    return isinstance(budget, SubjectBudget) and budget.source.startswith("hub:")


def chosen():
    """The chapters of this dry run, of those that read the hub: what is asked for, else those that take no other one's budget."""
    streamed = [name for name in sidecar.names_at("paper") if is_streamed(name)]
    asked = os.environ.get("SAEBOOK_DRY_RUN", "")
    if asked and asked != "all":
        return [sidecar.resolved(name) for name in asked.split(",")]
    return [name for name in streamed if asked or not sidecar.load(name).like("paper")]


def cut(name):
    """The values of a chapter's paper tier with the sizes of its smoke tier, and a text of a few thousand tokens."""
    paper, smoke = (sidecar.load(name).values(tier) for tier in ("paper", "smoke"))
    values = smoke | {key: value for key, value in paper.items() if key in KEPT or key not in smoke}
    places = {*map(str, paper.get("layers", ())), *paper.get("sites", ())}
    for key, value in paper.items():
        if isinstance(value, dict) and value and set(value) <= places:  # by layer or site: the paper's places
            small = itertools.cycle(
                smoke[key].values() if isinstance(smoke.get(key), dict) else [smoke.get(key, value)]
            )
            values[key] = dict(zip(value, small, strict=False))
    if "smaller" in paper:  # a family, whose members have rates of their own
        values |= {key: paper[key] for key in ("smaller", "topk_lr")}
        few = {key: smoke["deeper"][key] for key in ("d_sae", "k")}
        values["deeper"] = paper["deeper"] | few | {"source": _few_tokens(paper["deeper"]), "context": CONTEXT}
    values |= {key: 2 * rows for key, rows in smoke.items() if key.endswith("_rows")}  # as many tokens in shorter rows
    return values | {"source": _few_tokens(paper), "context": CONTEXT}


def _few_tokens(values):
    return values["source"].rpartition(":")[0] + ":60K"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A copy of the book whose paper tier is cut."""
    folder = tmp_path_factory.mktemp("book")
    for name in SHARED:
        (folder / name).symlink_to(paths.root() / name)
    shutil.copytree(paths.root() / "notebooks", folder / "notebooks")
    for name in filter(is_streamed, sidecar.names_at("paper")):
        file = folder / "notebooks" / f"{name}.yml"
        content = yaml.safe_load(file.read_text("utf-8"))
        content["budgets"]["paper"] = cut(name)
        file.write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
    return folder


@pytest.fixture(scope="module")
def paragraphs():
    """This library's source, as documents."""
    files = sorted((paths.root() / "src").rglob("*.py"))
    return [paragraph for file in files for paragraph in file.read_text("utf-8").split("\n\n\n")]


@pytest.fixture(scope="module")
def models(paragraphs, tmp_path_factory):
    """The papers' subjects by name: their own families and blocks, small and random but for what they predict from it."""
    tokenizer = AutoTokenizer.from_pretrained(paths.data() / "subjects" / "prose-4l128")
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    shape = {
        "vocab_size": len(tokenizer), "hidden_size": WIDTH, "max_position_embeddings": CONTEXT, "tie_word_embeddings": False,
        **ids,
    }  # fmt: skip
    torch.manual_seed(0)
    made = {
        "gpt2": GPT2LMHeadModel(GPT2Config(num_hidden_layers=12, num_attention_heads=2, **shape)),
        **{
            f"EleutherAI/pythia-{size}": GPTNeoXForCausalLM(
                GPTNeoXConfig(intermediate_size=4 * WIDTH, num_hidden_layers=layers, num_attention_heads=2, **shape)
            )
            for size, layers in {"70m": 6, "160m": 12, "410m": 24, "1b": 16, "2.8b": 32}.items()
        },
        "roneneldan/TinyStories-1M": GPTNeoForCausalLM(
            GPTNeoConfig(num_layers=8, num_heads=2, attention_types=[[["global", "local"], 4]], window_size=32, **shape)
        ),
    }
    text = torch.tensor(tokenizer("\n".join(paragraphs[:200]))["input_ids"])
    folders = {}
    for name, model in made.items():
        taught_to_predict(model, text[: len(text) // CONTEXT * CONTEXT].view(-1, CONTEXT)[:256])
        folders[name] = tmp_path_factory.mktemp("models") / name.replace("/", "-")
        model.save_pretrained(folders[name])
        tokenizer.save_pretrained(folders[name])
    return folders


def taught_to_predict(model, rows, steps=100):
    """Fit the unembedding to the next tokens of `rows` [N, T], so that what an SAE destroys costs the model something."""
    with torch.no_grad():
        hidden = model.base_model(rows).last_hidden_state[:, :-1].flatten(0, 1)
    weight, targets = model.get_output_embeddings().weight, rows[:, 1:].flatten()
    optimiser = torch.optim.Adam([weight], lr=0.05)
    for step in range(steps):
        few = slice(step * 1024 % (len(targets) - 1024), None)
        loss = torch.nn.functional.cross_entropy(hidden[few][:1024] @ weight.T, targets[few][:1024])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@pytest.fixture(scope="module")
def texts(paragraphs, tmp_path_factory):
    """The data sets that the paper tier names, in three files of Parquet each: always the same documents."""
    folder = tmp_path_factory.mktemp("texts")
    (folder / "data").mkdir()
    for number in range(3):
        table = pyarrow.table({"text": paragraphs[number::3]})
        pyarrow.parquet.write_table(table, folder / "data" / f"train-0000{number}-of-00003.parquet")
    names = {budgets.resolve(name, "paper").source for name in filter(is_streamed, sidecar.names_at("paper"))}
    return {name.removeprefix("hub:").rpartition(":")[0]: folder for name in names}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Repositories of the papers' own SAEs, which chapters compare with: small ones of ours in their places."""
    names = {one for name in sidecar.names_at("paper") for one in sidecar.load(name).values("paper").get("sae", ())}
    folder = tmp_path_factory.mktemp("saes")
    torch.manual_seed(0)
    for place in map(naming.parsed, sorted(names)):
        stack = registry.get("topk")(WIDTH, 4 * WIDTH, (Member(seed=0, sparsity=4),))
        origin = Origin(place.model_name, place.hook_name)
        conversion.module("saelens").write(stack, folder / place.repository / place.path, 0, origin)
    return {place.repository: folder / place.repository for place in map(naming.parsed, names)}


@pytest.fixture(scope="module")
def ran(home, models, texts, published, tmp_path_factory):
    """Run the chosen notebooks; the folder of what they made, the hub's readings, and what was said."""
    made = tmp_path_factory.mktemp("made")
    own = {f"SAEBOOK_{name}": str(made / name.lower()) for name in ("CACHE", "RUNS", "BUILD")}
    with serving(models | published, texts) as hub:
        environment = os.environ | own | hub.environment(made / "hf") | {"SAEBOOK_HOME": str(home)}
        command = [sys.executable, "-O", "-c", _RUN, *chosen()]
        with open(made / "said", "w") as said:
            subprocess.run(command, env=environment, stdout=said, stderr=subprocess.STDOUT, timeout=3600, check=False)
    return made, hub.read, (made / "said").read_text("utf-8")


@pytest.mark.parametrize("name", chosen())
def test_notebook_runs_by_the_paper_tiers_own_way(ran, name):
    made, _, said = ran
    assert f"{name}: ok in " in said, (
        "\n".join(line for line in said.splitlines() if line.startswith(name)) or said[-5000:]
    )
    result = json.loads((made / "build" / "results" / "paper" / f"{name}.json").read_text("utf-8"))
    budget = budgets.resolve(name, "paper")
    assert result["parameters"]["subject"] == result["subject"]["name"] == budget.subject
    assert result["corpus"]["source"].startswith(budget.source.rpartition(":")[0])
    assert {key: result["parameters"].get(key) for key in KEPT if key != "source"} == {
        key: budget.plain().get(key) for key in KEPT if key != "source"
    }


def test_disk_holds_no_text_and_no_more_tokens_than_were_asked_for(ran):
    made, read, said = ran
    assert any(name.endswith(".parquet") for name in read), said[-5000:]
    assert not list((made / "cache").rglob("*.jsonl"))
    streams = list((made / "cache" / "tokens" / "hub").glob("*/train.bin"))
    assert streams and all(file.stat().st_size == 2 * 60_000 for file in streams)
    assert not list((made / "hf").rglob("*.parquet"))
