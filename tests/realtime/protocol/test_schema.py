from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from jsonschema import Draft202012Validator

from realtime.protocol import commands, events
from realtime.protocol import schema as schemas

COMMANDS: list[commands.Command] = [
    commands.RenameSpeaker(id="c1", speaker="remote", name="Ann"),
    commands.OptOutSpeaker(speaker="remote"),
    commands.CorrectEmotion(utterance_id="u1", emotion="joy"),
    commands.MarkMoment(note="Here."),
]
VALIDATOR = Draft202012Validator(schemas.build_json_schema() | {"anyOf": [{"$ref": "#/$defs/Command"}]})


def references(document: Any) -> set[str]:
    if isinstance(document, dict):
        own = {document["$ref"]} if isinstance(document.get("$ref"), str) else set()
        return own.union(*(references(value) for value in document.values()))
    return set().union(*(references(value) for value in document)) if isinstance(document, list) else set()


def test_the_committed_documents_are_those_of_the_structs() -> None:
    """The committed schema is what `python -m realtime.protocol.schema` writes, so a change of the wire is seen."""
    committed = {path.name: path.read_bytes() for path in schemas.FOLDER.iterdir()}
    assert committed == schemas.build_documents()


def test_the_schema_is_valid_2020_12() -> None:
    """The JSON Schema conforms to its dialect."""
    Draft202012Validator.check_schema(schemas.build_json_schema())


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_every_command_fits_the_schema(command: commands.Command) -> None:
    """Each kind of command validates and decodes to what was encoded."""
    line = commands.encode(command)
    VALIDATOR.validate(json.loads(line))
    assert commands.decode(line) == command
    assert {type(one) for one in COMMANDS} == set(get_args(commands.Command))


def test_what_is_too_long_or_of_no_kind_fits_neither_schema_nor_decoder() -> None:
    """Schema and decoder agree on what is refused."""
    for wrong in (
        {"type": "speaker.rename", "speaker": "remote", "name": ""},
        {"type": "speaker.rename", "speaker": "remote", "name": "n" * 101},
        {"type": "moment.mark", "at_ms": -1},
        {"type": "emotion.final"},
        {"id": "c1"},
        [],
    ):
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate(wrong)
        with pytest.raises(commands.CommandRefused):
            commands.decode(json.dumps(wrong))


def test_asyncapi_names_every_message_and_every_reference_leads_somewhere() -> None:
    """The AsyncAPI document sends each kind of message, takes each kind of command, and has no loose end."""
    document = schemas.build_asyncapi()
    for operation, kinds in (("send_events", events.Message), ("receive_commands", commands.Command)):
        tags = {kind.__struct_config__.tag for kind in get_args(kinds)}
        named = {one["$ref"].rpartition("/")[2] for one in document["operations"][operation]["messages"]}
        assert named == tags
    for reference in references(document):
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
        assert place


def test_the_program_writes_where_the_feed_reads(tmp_path: Path) -> None:
    """`python -m realtime.protocol.schema` names the files that it wrote and says nothing else."""
    copy = Path(schemas.__file__).read_text().replace("Path(__file__)", f"Path({str(tmp_path / 'schema.py')!r})")
    (tmp_path / "schema.py").write_text(copy)
    ran = subprocess.run([sys.executable, tmp_path / "schema.py"], capture_output=True, text=True, check=True)
    assert [Path(line).read_bytes() for line in ran.stdout.splitlines()] == list(schemas.build_documents().values())
