"""Ours against SAELens, dictionary_learning and sparsify, side by side, for the book's page on speed.

    make bench                               # all of it; alone on the machine, about ten minutes
    python benchmarks/run.py steps sweep     # some sections
    python benchmarks/run.py book            # the whole cpu book at the tokens it once had: ten minutes more
    python benchmarks/run.py --quick         # does everything run? its numbers mean nothing
    python benchmarks/run.py --record        # also make the numbers the recorded ones, in data/benchmarks

Results go to _build/bench. Each library lives in an environment of its own, made there on the first run.
"""

import argparse
import importlib
import os
import sys
import time

from bench import Bench
from coordinator import BY_LABEL

SECTIONS = ("steps", "sweep", "e2e", "evaluation", "learning", "scaling", "floor")
ON_REQUEST = ("book",)


def main(arguments: list[str] | None = None) -> int:
    """Run the sections that were asked for, by default all but the book."""
    parser = argparse.ArgumentParser(description="Benchmarks of saebook against other libraries.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)} (default: all), book")
    parser.add_argument(
        "--quick", action="store_true", help="one small case of each: a test that it runs, no measurement"
    )
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads (default: all processors)"
    )
    parser.add_argument("--only", default="", help=f"settings, separated by commas: {', '.join(BY_LABEL)}")
    parser.add_argument("--record", action="store_true", help="copy the results to data/benchmarks")
    options = parser.parse_args(arguments)
    only = tuple(filter(None, options.only.split(",")))
    for unknown in (set(options.sections) - {*SECTIONS, *ON_REQUEST}) or (set(only) - set(BY_LABEL)):
        parser.error(f"'{unknown}' is not known")
    if options.record and options.quick:
        parser.error("a quick run is not recorded: its numbers mean nothing")
    for section in options.sections or SECTIONS:
        bench, began, load = Bench(options.quick, options.threads, only), time.monotonic(), os.getloadavg()[0]
        print(f"== {section}, {bench.threads} threads, load {load:.1f}", flush=True)
        rows = importlib.import_module(f"sections.{section}").run(bench)
        bench.write(section, rows, began, load, options.record)
        for what, reason in bench.reasons.items():
            print(f"did not run: {what}: {reason}")
        print(f"== {section}: {time.monotonic() - began:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
