"""`python -m benchmarks COMMAND`: benchmarks of the kit, and their figures and tables in docs/."""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.lab.benchmark_run import BenchmarkError

Options = argparse.Namespace


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    _add(parser.add_subparsers(required=True, metavar="COMMAND"))
    options = parser.parse_args(sys.argv[1:] or ["--help"])
    # also if started in the background, which ignores Ctrl-C, so that the emulated boards are stopped
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        print(options.make(options))
    except BenchmarkError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    return 0


def _add(commands: Any) -> None:
    def command(name: str, text: str, make: Callable[[Options], object]) -> argparse.ArgumentParser:
        formatter = argparse.ArgumentDefaultsHelpFormatter
        added: argparse.ArgumentParser = commands.add_parser(
            name, help=text, description=text, formatter_class=formatter
        )
        added.set_defaults(make=make)
        return added

    speed = command("sync", "images/s of every method, with both engines", _speed)
    engines = ["tensorflow", "pytorch"]
    speed.add_argument("--engines", nargs="+", choices=engines, default=engines, help="engines to measure")
    speed.add_argument("--own-cores", action="store_true", help="give each board its own core, for docs/scaling.md")
    learn = command("learning", "accuracy of 1 to 16 boards, on real images and on generated ones", _learning)
    learn.add_argument("--images", type=Path, metavar="FILE", help="x_train, y_train, x_test, y_test (.npz)")
    learn.add_argument("--weights", type=Path, required=True, metavar="FILE", help="backbone weights without top (.h5)")
    learn.add_argument("--minutes", type=float, default=30, help="no run begins later; the ones that run go on")
    learn.add_argument("--train-images", type=int, default=8192)
    learn.add_argument("--validation-images", type=int, default=10_000)
    learn.add_argument("--generated", action="store_true", help="the generated images alone")
    learn.add_argument("--lab", action="store_true", help="instead: the preset's runs on emulated boards, a seed each")
    learn.add_argument("--try", dest="tries", metavar="JSON", help="instead: an override, or a list of overrides")
    learn.add_argument("--boards", type=int, nargs="+", default=[8], help="with --try")
    learn.add_argument("--seeds", type=int, nargs="+", default=[11, 12], help="with --try")
    one = command("single", "one board: the kit's cost, cached features", _single)
    one.add_argument("--repeats", type=int, default=6, help="repeats of the pair; the two swap boards in each")
    one.add_argument("--weights", type=Path, required=True, metavar="FILE", help="backbone weights without top (.h5)")
    more = command(
        "scale", "efficiency of 2 to 8 boards, measured and predicted", lambda o: _of("lab.scale").measure(o.boards)
    )
    more.add_argument(
        "--boards", type=int, nargs="*", choices=[2, 4, 8], default=[2, 4, 8], help="none: only summarise"
    )
    slow = command("straggler", "the cost of a board at half speed", lambda o: _of("lab.straggler").measure(o.repeats))
    slow.add_argument("--repeats", type=int, default=3, help="runs of each arm")
    command("prediction", "predicted and actual times of runs", lambda o: _of("lab.prediction").measure())
    stages = command("playbook", "the controller's time per run", lambda o: _of("lab.playbook").measure(o.boards))
    stages.add_argument("--boards", type=int, nargs="+", default=[2, 8, 32], help="numbers of boards")
    chaos = command("chaos", "goodput of three boards to which faults happen at random times", _chaos)
    chaos.add_argument("--between", type=float, nargs="+", default=[5, 2], metavar="MINUTES", help="means, a run each")
    chaos.add_argument("--minutes", type=float, default=25, help="of each run")
    chaos.add_argument("--seed", type=int, default=1, help="of the faults")
    chaos.add_argument("--resumes", type=int, default=2, help="runs that are stopped and resumed, 1 or more")
    cost = command("telemetry", "the cost of telemetry on a board", lambda o: _of("machine.telemetry").measure(o.turns))
    cost.add_argument("--turns", type=int, default=5, help="turns with and without it")
    studied = command("study", "a study's runs on emulated boards", _study)
    studied.add_argument("name", help="of a file in studies/, without .yml")
    same = command("curves", "both engines' losses on real images", _curves)
    same.add_argument("--images", type=Path, required=True, metavar="FILE", help="x_train, y_train, x_test, y_test")
    same.add_argument("--weights", type=Path, required=True, metavar="FILE", help="backbone weights without top (.h5)")
    same.add_argument("--train-images", type=int, default=8320, help="images of the epoch")
    same.add_argument("--size", type=int, default=64, help="pixels per side")
    many = command("loading", "time and memory of the analysis of many runs", _loading)
    many.add_argument("--runs", type=int, default=300, help="runs to generate")
    command("coverage", "how often intervals of few runs cover the true speed-up", _coverage)
    command("publish", "copy results from runs/bench-*.json into docs/", lambda o: _listed(_of("docs.figures").publish))
    command("scaling", "the cost model's tables and figure in docs/", _scaling)
    command("screenshot", "the report on the committed rehearsal, as a picture in docs/", _screenshot)


def _of(name: str) -> Any:
    """Import the module now: matplotlib and pandas take a second."""
    return importlib.import_module(f"benchmarks.{name}")


def _speed(options: Options) -> object:
    return _of("lab.sync").measure(options.engines, options.own_cores)


def _learning(options: Options) -> object:
    learning, weights = _of("machine.learning"), options.weights.resolve()
    sizes = weights, options.train_images, options.validation_images
    tasks = [] if options.images is None or options.generated else [learning.given(options.images.resolve(), *sizes)]
    if not tasks or options.generated:
        tasks.append(learning.generated(*sizes))
    overrides = json.loads(options.tries) if options.tries else []
    overrides = overrides if isinstance(overrides, list) else [overrides]
    tries = [
        learning.tried(task, override, boards, seed)
        for seed in options.seeds
        for boards in options.boards
        for override in overrides
        for task in tasks
    ]
    if options.lab:
        rows = json.loads((_of("lab.benchmark_run").RUNS / "bench-learning.json").read_text(encoding="utf-8"))["rows"]
        return _of("lab.learned").measure(tasks[0], rows)
    path = learning.measure(tasks, options.minutes, tries)
    return learning.table(json.loads(path.read_text(encoding="utf-8"))) if not tries else path


def _single(options: Options) -> object:
    return _of("lab.single").measure(options.repeats, options.weights)


def _chaos(options: Options) -> object:
    return _of("lab.chaos").measure(options.between, options.minutes, options.seed, options.resumes)


def _study(options: Options) -> object:
    study = _of("lab.study")
    return study.printed(study.measure(options.name))


def _curves(options: Options) -> object:
    engines = _of("machine.engines")
    images, weights = options.images.resolve(), options.weights.resolve()
    return engines.printed(engines.measure(images, weights, options.train_images, options.size))


def _loading(options: Options) -> object:
    return _of("machine.loading").measure(options.runs)


def _coverage(options: Options) -> object:
    return _of("machine.coverage").table()


def _scaling(options: Options) -> object:
    return _listed(_of("docs.figures").render_scaling)


def _listed(make: Callable[[Path], list[Path]]) -> str:
    return "\n".join(map(str, make(_of("docs.figures").DOCS)))


def _screenshot(options: Options) -> object:
    return _of("docs.browser").picture_report(_of("docs.figures").DOCS / "figures" / "report.png")


if __name__ == "__main__":
    sys.exit(main())
