"""A seeded sample of small faults, each against its module's own tests: `python tests/support/mutation_run.py`.

A fault is one change in the syntax tree: an operator or comparison for its counterpart, a number that is one more, a
truth turned over, a condition negated, a method for the one that it is taken for. A test that turns red kills it.
Docstrings, annotations and the sentences of errors are left alone, for no test should hold on to them.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import NoReturn
from unittest.mock import patch

import pytest
import torch

ROOT = Path(__file__).parents[2]
# What the tests load besides, once for all faults: a fault itself takes a second or two.
PRELOADED = ("av", "cv2", "hypothesis", "jsonargparse", "rich", "safetensors.torch", "soundfile", "sympy", "tokenizers")
LONGEST_S = 300  # the slowest of these files takes a tenth of it
# Module -> names of its own test files.
_NAMES = {
    "core_models/networks/attention.py": ("attention", "sdt_equations", "sdt_program"),
    "core_models/networks/dialogue_model.py": ("sdt_equations", "sdt_missing", "sdt_streaming", "sdt_program"),
    "core_models/networks/dialogue_state.py": ("sdt_state",),
    "core_models/networks/sdt.py": ("sdt_equations", "sdt_program", "sdt_missing", "sdt_ablations"),
    "core_models/networks/cmath.py": ("cmath", "cmath_streaming"),
    "core_models/networks/mced_student.py": ("mced_student",),
    "core_models/networks/tdfnet.py": ("tdfnet",),
    "train/losses/sdt.py": ("sdt_loss",),
    "train/losses/cmath.py": ("cmath_loss",),
    "train/losses/mced.py": ("mced_loss",),
    "train/losses/tdfnet.py": ("tdfnet_loss",),
    "train/losses/terms.py": ("loss_terms",),
}
SUITES = {module: [f"tests/{Path(module).parent}/test_{name}.py" for name in names] for module, names in _NAMES.items()}

_OPERATORS: dict[type[ast.operator], ast.operator] = {
    ast.Add: ast.Sub(),
    ast.Sub: ast.Add(),
    ast.Mult: ast.Add(),
    ast.Div: ast.Mult(),
    ast.FloorDiv: ast.Mult(),
    ast.Mod: ast.FloorDiv(),
    ast.Pow: ast.Mult(),
    ast.MatMult: ast.Mult(),
    ast.BitAnd: ast.BitOr(),
    ast.BitOr: ast.BitAnd(),
}
_COMPARISONS: dict[type[ast.cmpop], ast.cmpop] = {
    ast.Eq: ast.NotEq(),
    ast.NotEq: ast.Eq(),
    ast.Lt: ast.LtE(),
    ast.LtE: ast.Lt(),
    ast.Gt: ast.GtE(),
    ast.GtE: ast.Gt(),
    ast.Is: ast.IsNot(),
    ast.IsNot: ast.Is(),
    ast.In: ast.NotIn(),
    ast.NotIn: ast.In(),
}
# Methods that are easily taken for one another.
_METHODS = {"sum": "mean", "mean": "sum", "any": "all", "all": "any", "sigmoid": "tanh", "relu": "abs", "min": "max"}


@dataclass(frozen=True)
class Mutant:
    """One fault: the module, the line, and what is told of it."""

    module: str
    line: int
    told: str
    source: str


def count_faults(module: str) -> int:
    """How many faults of the kinds above the module could have."""
    return sum(1 for _ in _changes(ast.parse((ROOT / module).read_text(encoding="utf-8"))))


def make_mutant(module: str, number: int) -> Mutant:
    """The module with its fault of that number, in the order of the file."""
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    node, change = next(one for i, one in enumerate(_changes(tree)) if i == number)
    before = ast.unparse(node)
    change()
    told = f"{before} -> {ast.unparse(node)}"
    return Mutant(module, node.lineno, told, ast.unparse(ast.fix_missing_locations(tree)))


def _changes(tree: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, Callable[[], None]]]:
    """(node, what spoils it), outside of docstrings, annotations, default texts and raised errors."""
    for node in _walk_code(tree):
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            yield node, _setter(node, "op", _OPERATORS[type(node.op)])
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARISONS:
            yield node, _setter(node, "ops", [_COMPARISONS[type(node.ops[0])], *node.ops[1:]])
        elif isinstance(node, ast.BoolOp):
            yield node, _setter(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Invert | ast.Not):
            yield node, _setter(node, "op", ast.UAdd() if isinstance(node.op, ast.USub) else ast.Not())
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield node, _setter(node, "value", not node.value)
        elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            yield node, _setter(node, "value", node.value + 1)
        elif isinstance(node, ast.IfExp):
            yield node, _setter(node, "test", ast.UnaryOp(ast.Not(), node.test))
        elif isinstance(node, ast.Attribute) and node.attr in _METHODS:
            yield node, _setter(node, "attr", _METHODS[node.attr])


def _setter(node: ast.AST, field: str, value: object) -> Callable[[], None]:
    return lambda: setattr(node, field, value)


def _walk_code(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases") or isinstance(node, ast.Raise):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _walk_code(child)


def is_killed(mutant: Mutant) -> bool:
    """Whether a test of the module's own files turns red, in a process of its own that reads the fault for the file.

    A fault that runs for more than LONGEST_S counts as killed: somebody would notice.
    """
    child = os.fork()
    if not child:
        _run_tests(mutant)
    _, status = os.waitpid(child, 0)
    return status != 0


def _run_tests(mutant: Mutant) -> NoReturn:
    faulty, plain = str(ROOT / mutant.module), SourceFileLoader.get_code

    def get_code(self: SourceFileLoader, fullname: str) -> CodeType | None:
        return compile(mutant.source, faulty, "exec") if self.path == faulty else plain(self, fullname)

    signal.alarm(LONGEST_S)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    with patch.object(SourceFileLoader, "get_code", get_code):
        code = pytest.main(["-q", "-x", "-p", "no:cacheprovider", *SUITES[mutant.module]])
    os._exit(int(code))


def main() -> None:
    """Draw, try, and print what became of each and the share of those killed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=300)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--minutes", type=float, default=60.0, help="no further fault is tried after so many")
    given = options.parse_args()
    os.chdir(ROOT)
    for name in PRELOADED:
        with suppress(ImportError):
            import_module(name)
    torch.set_num_threads(1)  # a forked process must not wait for threads that it does not have
    every = [(module, number) for module in SUITES for number in range(count_faults(module))]
    drawn = random.Random(given.seed).sample(every, min(given.count, len(every)))
    end = time.monotonic() + 60 * given.minutes
    sound: set[str] = set()
    killed = tried = 0
    for module, number in drawn:
        if time.monotonic() > end:
            break
        if module not in sound and is_killed(Mutant(module, 0, "no fault", (ROOT / module).read_text("utf-8"))):
            raise SystemExit(f"The tests of {module} are red as it is: mend it or them first.")
        sound.add(module)
        mutant = make_mutant(module, number)
        found = is_killed(mutant)
        tried, killed = tried + 1, killed + found
        print(f"{tried} {'killed' if found else 'SURVIVED'} {module}:{mutant.line}: {mutant.told}", flush=True)
    print(f"mutants killed: {100 * killed / max(tried, 1):.0f}% ({killed} of {tried}, {len(every)} in all)", flush=True)


if __name__ == "__main__":
    main()
