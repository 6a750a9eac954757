"""The page on the reader's own model is followed to the letter: every command of it, in its order, on a small model."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from saebook.common import paths
from saebook.formats import openai
from saebook.sae import registry
from saebook.sae.base import Member
from saebook.text import prose

PAGE = paths.root() / "book" / "your-model.md"
ONCE = "make setup"  # it downloads packages: these tests run in the environment that it made
D, M = 32, 48


def commands() -> list[str]:
    """The lines of all fenced blocks that a reader types, without their comments."""
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    lines = [re.sub(r"\s+#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def saelens_folder(folder: Path) -> None:
    """A ReLU SAE as SAELens 6 saves one: nothing in it is ours."""
    generator = torch.Generator().manual_seed(3)
    W_dec = torch.nn.functional.normalize(torch.randn(M, D, generator=generator), dim=1)
    tensors = {"W_enc": W_dec.T.contiguous(), "W_dec": W_dec, "b_enc": torch.zeros(M), "b_dec": torch.zeros(D)}
    cfg = {
        "architecture": "standard", "d_in": D, "d_sae": M, "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": True,
        "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {"sae_lens_version": "6.22.0", "model_name": "model", "hook_name": "blocks.1.hook_resid_post"},
    }  # fmt: skip
    folder.mkdir()
    save_file(tensors, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(cfg))


def _lines(file: Path) -> str:
    words = file.read_text().split()
    return "".join(" ".join(words[i : i + 12]) + "\n" for i in range(0, len(words), 12))


@pytest.fixture
def typed(tmp_path, small_subject_folder, text_folder):
    """A folder with everything that the page takes for granted, and a function that types a command there."""
    home = tmp_path / "path" / "to"
    shutil.copytree(small_subject_folder, home / "model")
    (home / "all.txt").write_text("".join(_lines(file) for file in sorted(text_folder.iterdir())))  # the page splits it
    saelens_folder(home / "sae")
    openai.write(registry.build("relu", D, M, (Member(0, 1.0),)), home / "layer_1.pt")
    activate = tmp_path / ".venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.write_text(f'export PATH="{Path(sys.executable).parent}:$PATH"\n')
    moved = {f"SAEBOOK_{name}": str(tmp_path / name) for name in ("BUILD", "RUNS", "CACHE")}
    places = {"SAEBOOK_HOME": str(paths.root()), "PYTHONPATH": str(paths.root() / "src")}

    def run(script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-e"], input=script, cwd=tmp_path, env=os.environ | moved | places, capture_output=True, text=True,
            check=False, timeout=1200,
        )  # fmt: skip

    return run


def executed(said: str) -> str:
    """What the last notebook that was run shows, as text."""
    file = Path(said.strip().splitlines()[-1].rpartition(", ")[2])
    outputs = [output for cell in nbformat.read(file, 4).cells for output in cell.get("outputs", [])]
    return "\n".join(output.get("text", "") + str(output.get("data", {}).get("text/plain", "")) for output in outputs)


def test_the_page_alone_puts_a_saelens_sae_into_figure_5(typed, tmp_path):
    lines = commands()
    assert lines[:2] == [ONCE, ". .venv/bin/activate"] and "setup:" in (paths.root() / "Makefile").read_text()
    # The one thing that is not to the letter: the smoke tier's budget, which a test can afford.
    script = "\n".join(lines[1:]).replace("--tier cpu", "--tier smoke")
    assert len(re.findall(r"^saebook run", script, re.MULTILINE)) == 3
    before, _, last = script.rpartition("\nsaebook run ")
    first = typed(before)
    assert first.returncode == 0, first.stderr[-2000:]
    for line in ("format", "hook"):
        assert re.search(rf"^{line}: .*(saelens|blocks\.1\.hook_resid_post)", first.stdout, re.MULTILINE), first.stdout
    texts = [file.name for file in (tmp_path / "path" / "to" / "texts").iterdir()]
    assert len(texts) == 400 and 0 < sum(map(prose.validation, texts)) < 20
    assert "seeds: list[int] = 0,1  one" in first.stdout and "sae: list[str] = not set  trained" in first.stdout
    ended = typed(f". .venv/bin/activate\nsaebook run {last}")
    assert ended.returncode == 0, ended.stderr[-2000:]

    live = tmp_path / "BUILD" / "results" / "smoke" / "gated"
    kept = [json.loads(file.read_text()) for file in sorted(live.glob("*.json"), key=lambda file: file.stat().st_mtime)]
    trained, one, two = kept  # kept apart, and none in the place of the book's own
    assert all("@" in file.stem for file in live.iterdir())
    assert "sae" not in trained["parameters"] and trained["trained_runs"] > 0
    assert one["trained_runs"] == two["trained_runs"] == 0
    assert [Path(name).name for name in two["parameters"]["sae"]] == ["sae", "stated"]
    assert trained["live"] == one["live"] == two["live"]  # the claims are judged by the chapter's SAEs
    assert list(two["findings"]["sae"]) == ["sae", "stated"]
    newest = max(live.glob("*.csv"), key=lambda file: file.stat().st_mtime)
    points = pd.read_csv(newest).set_index("method")
    assert set(points.index) == {"gated", "relu", "sae", "stated"} and 0 < points.l0["sae"] <= M
    assert points.loc["sae", ["l0", "loss_recovered", "normalised_mse"]].notna().all()
    shown = executed(ended.stdout)
    assert "sae: relu, 48 latents, made for blocks.1.hook_resid_post; takes activations as they are" in shown
    for name in ("sae", "stated"):  # neither file says a penalty, and the column that would say it is blank
        assert re.search(rf"^{name} {{9,}}\d+\.\d+ ", shown, re.MULTILINE), shown


def test_mistakes_on_the_way_are_answered_in_one_line(typed, tmp_path):
    """What does not fit is refused before anything is started; the command that is printed then works as it stands."""
    (split,) = [line for line in commands() if line.startswith("mkdir")]
    (run,) = [line for line in commands() if line.endswith("-p sae path/to/sae")]
    run = f". .venv/bin/activate\n{run.replace('--tier cpu', '--tier smoke')}"
    open_folder = tmp_path / "path" / "to" / "open"
    shutil.copytree(tmp_path / "path" / "to" / "sae", open_folder)
    cfg = json.loads((open_folder / "cfg.json").read_text())
    del cfg["apply_b_dec_to_input"]
    (open_folder / "cfg.json").write_text(json.dumps(cfg))
    typed("mkdir path/to/texts && cp path/to/all.txt path/to/texts")
    assert refusal(typed(run)).startswith("has 1 text file (.txt, .md, .rst), and none is held out to measure on")
    typed(f"rm path/to/texts/all.txt && {split}")
    for wrong, words in (
        (run.replace("-p sae path/to/sae", "-p sae path/to/sea"), "there is no file or folder"),
        (run.replace("-p sae path/to/sae", "-p sae path/to/layer_1.pt"), "--to saelens --hook-name blocks.1.hook_resid_post"),
        (run.replace("-p layer 1", "-p layer 2"), "give -p site resid_post -p layer 1"),
    ):  # fmt: skip
        assert words in refusal(typed(wrong))
    said = refusal(typed(run.replace("-p sae path/to/sae", "-p sae path/to/open")))
    (command,) = re.findall(r"`(saebook convert .* OUT .*)` \(or no\), and give OUT instead$", said)
    converted = typed(
        f". .venv/bin/activate\n{command.replace(' OUT ', ' path/to/closed ')}\nsaebook inspect path/to/closed"
    )
    assert converted.returncode == 0 and "sees x - b_dec" in converted.stdout
    assert not (tmp_path / "RUNS").exists() and not (tmp_path / "BUILD").exists()


def refusal(ended: subprocess.CompletedProcess[str]) -> str:
    """The one line of a command that was refused, without the file or folder that it begins with."""
    assert ended.returncode == 2 and not ended.stdout, ended.stdout
    (line,) = ended.stderr.splitlines()
    return re.sub(r"^saebook: (/\S+ )?", "", line)


def test_the_page_names_what_exists():
    from saebook.book import budgets
    from saebook.book.brought import naming
    from saebook.common import sidecar

    text = PAGE.read_text("utf-8")
    labels = {name.replace("/", "-").replace("_", "-"): name for name in sidecar.names()}
    linked = {labels[label] for label in re.findall(r"\{ref\}`[^<]*<([\w-]+)>`", text)}
    assert linked == {name for name in labels.values() if budgets.takes_saes(name)}
    for name in re.findall(r"`([\w.-]+/[\w.]+)`, ?(?:with|and)", text):
        assert naming.parsed(name).repository, name
    assert set(re.findall(r"`(resid_\w+|mlp_\w+|attn_z)`", text)) == {
        "resid_pre",
        "resid_post",
        "mlp_out",
        "mlp_post",
        "attn_z",
    }


def test_ten_minutes_are_what_the_record_says():
    from saebook.book.brought import course
    from saebook.claims import results

    kept = results.read(course.CHAPTER, "cpu")
    asked = {line.partition("-p seeds ")[2].split()[0] for line in commands() if "-p seeds" in line}
    assert {len(seeds.split(",")) for seeds in asked} == {course.SEEDS}
    assert kept and kept["seconds"] * course.SEEDS / len(kept["parameters"]["seeds"]) <= 600
    assert PAGE.read_text("utf-8").splitlines()[0].startswith("# Figure 5 on your model in ten minutes")


def test_table_of_sites_is_that_of_the_library():
    from saebook.subject.sites import SITES

    rows = re.findall(r"^\| `(\w+)` \| `([\w.]+)` \| `([\w* ]+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    shape = {"d_model": 2, "d_mlp": 3, "n_heads": 5, "d_head": 7}
    said = {site: (hook, eval(width, shape.copy())) for site, hook, width in rows}
    assert said == {site: (hook, width(SimpleNamespace(**shape))) for site, (hook, width) in SITES.items()}


def test_trial_without_a_model_is_a_run_of_the_smoke_tier():
    from saebook.book.running import runner

    (name,) = re.findall(r"`saebook run (\S+)`", PAGE.read_text("utf-8"))
    request = runner.request(name, "smoke")
    assert request.own and request.budget is not None and request.budget.plain()["subject"] == "prose-4l128"


def test_page_includes_every_generated_part():
    from saebook.book.brought import course

    included = re.findall(r"\{include\} _generated/(\w+\.md)", PAGE.read_text("utf-8"))
    assert sorted(included) == sorted(course.parts())
