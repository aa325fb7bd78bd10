"""`python -m benchmarks sync|accuracy|single`: measure on emulated boards; `publish`, `scaling`: put it into docs/;
`loading|coverage`: measure the analysis itself, without boards; `screenshot`: the report's picture in docs/."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.sitting import BenchmarkError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    speed = commands.add_parser("sync", help="images/s of every way of synchronising, and of PyTorch's DDP")
    speed.add_argument("--engines", nargs="+", choices=["tensorflow", "pytorch"], default=["tensorflow", "pytorch"])
    real = commands.add_parser("accuracy", help="accuracy and time to accuracy, on real images and weights")
    real.add_argument(
        "--images", type=Path, required=True, metavar="FILE", help="x_train, y_train, x_test, y_test (.npz)"
    )
    real.add_argument("--weights", type=Path, required=True, metavar="FILE", help="of the backbone, without top (.h5)")
    real.add_argument("--seeds", type=int, default=3)
    real.add_argument("--train-images", type=int, default=8192)
    real.add_argument("--validation-images", type=int, default=5000)
    real.add_argument("--size", type=int, default=32, help="pixels a side")
    one = commands.add_parser("single", help="one board: the kit's cost, and what cached features save")
    one.add_argument("--repeats", type=int, default=6, help="of the pair; in each the two change boards")
    many = commands.add_parser("loading", help="time and memory that the analysis takes for many long runs")
    many.add_argument("--runs", type=int, default=300)
    commands.add_parser("coverage", help="how often intervals of few runs cover the true speed-up, by method")
    commands.add_parser("publish", help="put what runs/bench-*.json have into docs/")
    commands.add_parser("scaling", help="the cost model's tables and figure in docs/, from what docs/data has")
    commands.add_parser("screenshot", help="the report on the committed rehearsal as docs/figures/report.png")
    options = parser.parse_args()
    if options.command in ("publish", "scaling"):
        from benchmarks import figures

        make = figures.publish if options.command == "publish" else figures.render_scaling
        print(*make(figures.DOCS), sep="\n")
        return 0
    if options.command == "loading":
        from benchmarks import loading

        print(loading.measure(options.runs))
        return 0
    if options.command == "coverage":
        from benchmarks import coverage

        print(coverage.table())
        return 0
    try:
        if options.command == "sync":
            from benchmarks import sync

            path = sync.measure(options.engines)
        elif options.command == "accuracy":
            from benchmarks import accuracy

            sizes = options.train_images, options.validation_images, options.size
            path = accuracy.measure(options.images.resolve(), options.weights.resolve(), options.seeds, *sizes)
        elif options.command == "screenshot":
            from benchmarks import browser, figures

            path = browser.picture_report(figures.DOCS / "figures" / "report.png")
        else:
            from benchmarks import single

            path = single.measure(options.repeats)
        print(path, file=sys.stderr)
    except BenchmarkError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
