"""Options of a command in one style: `--kebab-case` names, comma lists, and one or two lines about what is wrong.

The keys of YAML and JSON files keep their underscores, and so do the fields of the dataclasses that options fill.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import types
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter, Namespace, set_parsing_settings

from core_models.command_line.close_names import suggest_name
from core_models.command_line.run import print_error, program_version
from core_models.errors import UsageError
from core_models.installation import find_config

T = TypeVar("T")

# The parser library's own option, as it is registered; `--print-config` is what people type.
PRINT_CONFIG = "--print_config"


class _Option(NamedTuple):
    """An option as the parser library knows it: its registered spelling, its type, whether it takes several words."""

    name: str
    hint: Any
    several: bool = False


class _OptionHelp(DefaultHelpFormatter):
    """Help in which options are spelled with dashes and the usage is one line, not a wall of every option."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        return re.sub(r"--[\w.+-]+", lambda found: _with_dashes(found[0]), super()._format_action_invocation(action))

    def _format_usage(
        self, usage: str | None, actions: Iterable[argparse.Action], groups: Iterable[Any], prefix: str | None
    ) -> str:
        places = [str(action.metavar or action.dest).upper() for action in actions if not action.option_strings]
        return " ".join(["usage:", self._prog, *places, "[--option VALUE ...]"]) + "\n\n"


def build_parser(program: str, description: str | None, *, config: bool = True) -> ArgumentParser:
    """A parser without options of its own but `--help`, `--version`, and with `config` `--config` and `--print-config`.

    Add options with jsonargparse's methods and read a command line with `read_options`.
    """
    # A field's docstring is its help: the dataclass documents the option, the config key and the code at once.
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(
        prog=program,
        description=description,
        exit_on_error=False,
        allow_abbrev=False,  # a misspelt option must be reported, not taken for a longer one
        formatter_class=_OptionHelp,
        version=program_version(),
        print_config=PRINT_CONFIG,
    )
    if config:
        parser.add_argument("--config", action="config", help="a YAML file of these options")
    return parser


def hide_options(parser: ArgumentParser, keys: Collection[str]) -> None:
    """Leave options out of `--help`, whose end then names them; they work as before, in YAML too."""
    for action in parser._actions:
        if action.dest in keys:
            action.help = argparse.SUPPRESS
    parser.epilog = f"Further keys, for experiments: {', '.join(keys)}."


def read_options(parser: ArgumentParser, arguments: Sequence[str]) -> Namespace:
    """The values of a command line, dataclasses built. UsageError of one sentence; SystemExit after --help."""
    try:
        values: Namespace = parser.instantiate(parser.parse_args(_normalize_arguments(parser, arguments)))
        return values
    except (ArgumentError, ValueError, TypeError) as error:
        raise UsageError(_explain_error(parser, str(error))) from None


def collect_fields(kind: type[T], values: Namespace) -> T:
    """The dataclass `kind` whose options were added to the parser that gave `values`."""
    return kind(**{field.name: values[field.name] for field in dataclasses.fields(kind)})  # type: ignore[arg-type]


def _normalize_arguments(parser: ArgumentParser, arguments: Sequence[str]) -> list[str]:
    """The command line as the parser library wants it: registered spellings, lists in brackets."""
    normal: list[str] = []
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            return [*normal, word, *waiting]
        typed, equals, value = word.partition("=")
        if not word.startswith("--") or " " in typed:  # the rule of argparse: with a space it is no option
            normal.append(word)
            continue
        option = _find_option(parser, typed)
        if "_" in typed and typed != PRINT_CONFIG and _with_dashes(typed) != typed:
            print_error(f"Note: {typed} is spelled {_with_dashes(typed)} now; the next release drops the old spelling.")
        if option.name == "--config" and (value or waiting):
            value, equals = find_config(value if equals else waiting.pop(0)), "="
        if equals:
            normal.append(f"{option.name}={_bracket_list(value, option.hint)}")
            continue
        normal.append(option.name)
        if option.several:
            while waiting and not waiting[0].startswith("--"):
                normal += waiting.pop(0).split(",")
        elif waiting and not waiting[0].startswith("--"):
            following = waiting.pop(0)
            normal.append(_bracket_list(following, option.hint) if _takes_value(parser, option) else following)
    return normal


def _with_dashes(option: str) -> str:
    return "--" + option[2:].replace("_", "-")


def _takes_value(parser: ArgumentParser, option: _Option) -> bool:
    action = parser._option_string_actions.get(option.name)
    return action is None or action.nargs != 0


def _find_option(parser: ArgumentParser, typed: str) -> _Option:
    """The option that was meant; UsageError that names the closest one where there is none."""
    registered = parser._option_string_actions
    for name in (typed, "--" + typed[2:].replace("-", "_"), _with_dashes(typed)):
        if name in registered:
            action = registered[name]
            return _Option(name, getattr(action, "_typehint", None), action.nargs == "+")
    path = typed[2:].split(".")
    for length in range(len(path) - 1, 0, -1):
        name = "--" + ".".join(path[:length]).replace("-", "_")
        hint = getattr(registered.get(name), "_typehint", None)
        if hint is not None:
            keys, hint = _follow_path(parser, typed, hint, path[length:])
            return _Option(".".join([name, *keys]), hint)
    raise _unknown_option(parser, typed, (_with_dashes(name) for name in registered if name.startswith("--")))


def _follow_path(parser: ArgumentParser, typed: str, hint: Any, path: list[str]) -> tuple[list[str], Any]:
    """(the keys as they are spelled, the type at their end) of a path into a value of type `hint`."""
    keys: list[str] = []
    for step in path:
        members = list(_union_members(hint))
        classes = [member for member in members if dataclasses.is_dataclass(member)]
        if not classes:
            # A mapping's keys are data and keep their spelling, unless it holds values of any type: then it is the
            # settings of something. What another type makes of a path, its own check says.
            values = [get_args(m)[1] for m in members if len(get_args(m)) == 2 and _is_mapping(m)]
            hint = values[0] if values else Any
            keys.append(step.replace("-", "_") if hint is Any else step)
            continue
        fields = {name: kind for one in classes for name, kind in get_type_hints(one).items()}
        key = step.replace("-", "_")
        if key not in fields:
            before = typed[: len(typed) - len(".".join(path[len(keys) :]))]
            raise _unknown_option(parser, typed, (_with_dashes(before + name) for name in fields))
        keys.append(key)
        hint = fields[key]
    return keys, hint


def _unknown_option(parser: ArgumentParser, typed: str, known: Iterable[str]) -> UsageError:
    close = suggest_name(_with_dashes(typed), known)
    return UsageError(f"There is no option {typed}.{close} See `{parser.prog} --help`.")


def _union_members(hint: Any) -> Iterator[Any]:
    if get_origin(hint) in (Union, types.UnionType):
        for member in get_args(hint):
            yield from _union_members(member)
    else:
        yield hint


def _is_mapping(hint: Any) -> bool:
    origin = get_origin(hint)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _item_type(hint: Any) -> Any:
    """The type of a list's items where words can be such a list and nothing else; None for any other type."""
    members = list(_union_members(hint))
    if str in members or Path in members:
        return None
    for member in members:
        origin = get_origin(member)
        if isinstance(origin, type) and issubclass(origin, Sequence | AbstractSet) and get_args(member):
            item = get_args(member)[0]
            return item if item in (str, int, float, Path) or get_origin(item) is Literal else None
    return None


def _bracket_list(value: str, hint: Any) -> str:
    """`a,b` as `["a", "b"]` where a list is wanted; lists in brackets, and words of a choice beside it, stay."""
    item = _item_type(hint)
    choices = [one for member in _union_members(hint) if get_origin(member) is Literal for one in get_args(member)]
    if item is None or value.startswith(("[", "{")) or value in choices or value in ("", "null"):
        return value
    parts = [part.strip() for part in value.split(",")]
    return f"[{','.join(parts)}]" if item in (int, float) else json.dumps(parts, ensure_ascii=False)


def _explain_error(parser: ArgumentParser, message: str) -> str:
    """What the parser library says, in a sentence that names the option, the value and what was expected."""
    message = re.sub(r"\A(Problem with|Failed to).*?\n", "", message)
    if found := re.match(r'Parser key "([\w.]+)":\s*(.*)', message, re.DOTALL):
        return _explain_value(parser, found[1], found[2])
    if found := re.search(r"(?:Group '([\w.]+)' does not accept option|Option) '([\w.-]+)'", message):
        group, key = found[1], found[2]
        whole = f"{group}.{key}" if group else key
        known = [action.dest for action in parser._actions if action.dest != argparse.SUPPRESS]
        return f"There is no key {whole}.{suggest_name(whole, known)} See `{parser.prog} --help`."
    if found := re.match(r"the following arguments are required: (.*)", message):
        optional = {action.dest for action in parser._actions if action.option_strings}
        named = [_with_dashes(f"--{one}") if one in optional else one.upper() for one in found[1].split(", ")]
        return f"{', '.join(named)} {'is' if len(named) == 1 else 'are'} missing; see `{parser.prog} --help`."
    if found := re.match(r"unrecognized arguments: (.*)", message):
        return f"{found[1]} is more than this command takes; see `{parser.prog} --help`."
    if found := re.match(r"argument (\S+): expected (.*)", message):
        return f"{_spell_options(found[1])} needs {found[2].replace('one argument', 'a value')}."
    sentence = _spell_options(" ".join(message.split()))
    return f"{sentence.rstrip('.')}; see `{parser.prog} --help`."


def _explain_value(parser: ArgumentParser, key: str, problem: str) -> str:
    action = next((one for one in parser._actions if one.dest == key), None)
    hint = getattr(action, "_typehint", None)
    nested = re.search(r"NestedArg\(key='([^']*)', val=(.*)\)\s*\Z", problem, re.DOTALL)
    got = re.search(r"(?:Got value|Given value): (.*)\Z", problem, re.DOTALL)
    if found := re.search(r"Option '([\w.]+)' is not accepted", problem):
        known = [name for one in _union_members(hint) if dataclasses.is_dataclass(one) for name in get_type_hints(one)]
        return f"{key} has no key {found[1]}.{suggest_name(found[1], known)} See `{parser.prog} --help`."
    if hint is None or got is None:
        return f"--{key.replace('_', '-')}: {' '.join(problem.split()).rstrip('.')}; see `{parser.prog} --help`."
    value = got[1]
    if nested is not None:
        path = nested[1].split(".")
        hint = _follow_path(parser, f"--{key}.{nested[1]}", hint, path)[1]
        key, value = f"{key}.{nested[1]}", nested[2].strip("'\"")
    choices = [str(one) for member in _union_members(hint) if get_origin(member) is Literal for one in get_args(member)]
    option = key if action is not None and not action.option_strings else "--" + key.replace("_", "-")
    close = suggest_name(value, choices)
    return f"{option} cannot be {' '.join(value.split())}: expected {_describe_type(hint)}.{close}"


def _describe_type(hint: Any) -> str:
    """What a value of this type looks like, for people who type it."""
    plain = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}
    said: list[str] = []
    for member in _union_members(hint):
        if get_origin(member) is Literal:
            said += map(str, get_args(member))
        elif member is type(None):
            said.append("null")
        elif (item := _item_type(member)) is not None:
            said.append("a list such as 1,2" if item in (int, float) else "a list such as a,b")
        else:
            said.append(plain.get(member) or ("a mapping" if dataclasses.is_dataclass(member) else "another value"))
    return f"{', '.join(said[:-1])} or {said[-1]}" if len(said) > 1 else said[0]


def _spell_options(text: str) -> str:
    return re.sub(r"(?<!\S)--[\w.-]+", lambda found: _with_dashes(found[0]), text)
