"""`python -m tests.support.style`: how the code is written, in figures that can be compared from one year to the next.

Prints a line for each package: files, the widest folder, the size of files and functions, functions whose name is one
word, lines of comment, and functions that state what they return. Nothing is enforced: a figure is a place to look.
"""

from __future__ import annotations

import argparse
import ast
import io
import statistics
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("core_models", "realtime", "train")


@dataclass
class Style:
    """What was counted over some files."""

    folders: Counter[str] = field(default_factory=Counter)
    file_lines: list[int] = field(default_factory=list)
    function_lines: list[int] = field(default_factory=list)
    one_word: list[str] = field(default_factory=list)
    returns_stated: int = 0
    code_lines: int = 0
    comment_lines: int = 0

    def count_file(self, path: Path) -> None:
        """Add one Python file."""
        source = path.read_text(encoding="utf-8")
        self.folders[str(path.parent.relative_to(ROOT))] += 1
        self.file_lines.append(len(source.splitlines()))
        tree = ast.parse(source)
        for function in _functions_of(tree):
            self.function_lines.append(_lines_of_body(function))
            self.returns_stated += function.returns is not None
            if is_one_word(function.name):
                self.one_word.append(f"{path.relative_to(ROOT)}:{function.lineno} {function.name}")
        comments, code = _comment_and_code_lines(source, tree)
        self.comment_lines += comments
        self.code_lines += code


def is_one_word(name: str) -> bool:
    """Whether a function's name is one word: `_tell` is, `close_log` is not. Python's own (`__init__`) do not count."""
    dunder = name.startswith("__") and name.endswith("__")
    return not dunder and "_" not in name.strip("_")


def _functions_of(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _lines_of_body(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement behind the docstring to the last."""
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    if not body:
        return 0
    return (body[-1].end_lineno or body[-1].lineno) - body[0].lineno + 1


def _comment_and_code_lines(source: str, tree: ast.AST) -> tuple[int, int]:
    """Lines that hold a comment alone, and lines with code; docstrings and blank lines are neither."""
    docstrings: set[int] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                docstrings.update(range(statement.lineno, (statement.end_lineno or statement.lineno) + 1))
    comments: set[int] = set()
    code: set[int] = set()
    passed_over = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.type not in passed_over:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(comments - code), len(code - docstrings)


def measure(package: str) -> Style:
    """Count every Python file of a package."""
    style = Style()
    for path in sorted((ROOT / package).rglob("*.py")):
        style.count_file(path)
    return style


def main() -> None:
    """Print the table; with `--names`, the functions whose name is one word."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", action="store_true", help="list the functions whose name is one word")
    arguments = parser.parse_args()
    console = Console(width=120)
    table = Table("package", "files", "widest folder", "lines a file", "lines a function", "one-word names", "comments",
                  "returns stated")  # fmt: skip
    for package in PACKAGES:
        style = measure(package)
        folder, files = style.folders.most_common(1)[0]
        functions = len(style.function_lines)
        table.add_row(
            package,
            str(len(style.file_lines)),
            f"{folder}: {files}",
            f"median {statistics.median(style.file_lines):.0f}, most {max(style.file_lines)}",
            f"median {statistics.median(style.function_lines):.0f}, most {max(style.function_lines)}",
            f"{len(style.one_word)} of {functions} ({len(style.one_word) / functions:.0%})",
            f"{style.comment_lines} of {style.code_lines} ({style.comment_lines / style.code_lines:.1%})",
            f"{style.returns_stated / functions:.0%}",
        )
        if arguments.names:
            console.print(*style.one_word, sep="\n", highlight=False)
    console.print(table)


if __name__ == "__main__":
    main()
