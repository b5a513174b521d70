"""JSON Schema 2020-12 and AsyncAPI 3 of the feed, generated from the structs.

`python -m realtime.protocol.schema` writes both to realtime/protocol/schema/, where a test compares them with the
structs; the feed serves them at `/schema` and `/asyncapi.json`.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, get_args

import msgspec

from realtime.protocol import commands, events

FOLDER = Path(__file__).with_suffix("")

# The publisher sets these on every event, so that they are required on the wire though the structs have defaults.
_STAMPS = ("seq", "epoch", "session")
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def _build_components(template: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, dict[str, Any]]]:
    """(schema of a message, schema of a command, everything that they refer to)."""
    (message, command), components = msgspec.json.schema_components(
        (events.Message, commands.Command), ref_template=template
    )
    for component in components.values():
        component["description"] = inspect.cleandoc(component["description"])
    for kind in get_args(events.Logged):
        component = components[kind.__name__]
        # Defaults before the publisher stamps them, never on the wire.
        for stamp in _STAMPS:
            del component["properties"][stamp]["default"]
        component["required"] = [*_STAMPS, *component["required"]]
        # Only filtered streams carry it, and no struct has it: the fan-out appends it to the journaled bytes.
        component["properties"]["prev_seq"] = {
            "type": "integer",
            "description": "On a filtered stream: the number of the message before this one, 0 if none.",
        }
    return message, command, components


def build_json_schema() -> dict[str, Any]:
    """JSON Schema of one message of the feed; `$defs/Command` is that of one message of a client.

    The tags are closed, further fields are allowed.
    """
    message, command, components = _build_components("#/$defs/{name}")
    return {
        "$schema": _DIALECT,
        "title": f"Conversation emotion tracker, feed version {events.SCHEMA_VERSION}",
        **message,
        "$defs": components | {"Command": command},
    }


def build_asyncapi() -> dict[str, Any]:
    """AsyncAPI 3 document: one channel, what the server sends on it and what it takes."""
    message, command, components = _build_components("#/components/schemas/{name}")
    sent, taken = _tags_of(message), _tags_of(command)
    text = {"type": "string"}
    query = {
        "from": {"type": "string", "pattern": "^[0-9]{1,18}$", "description": "Last number seen; 0 for all."},
        "epoch": {**text, "description": "The epoch of that number; the present one if not given."},
        "history": {"enum": ["none", "snapshot", "full"], "description": "Where to begin without `from`."},
        "types": {**text, "description": "Only these types, separated by commas."},
        "speakers": {**text, "description": "Of what has a speaker only these, separated by commas."},
        "min_confidence": {**text, "description": "Of what has a confidence only at least this, 0 to 1."},
        "token": {**text, "description": "A one-time token."},
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Conversation emotion tracker",
            "version": f"{events.SCHEMA_VERSION}.0.0",
            "description": inspect.cleandoc(events.__doc__ or ""),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"local": {"host": "127.0.0.1:8765", "protocol": "ws"}},
        "channels": {
            "feed": {
                "address": "/",
                "title": "The events of one session",
                "messages": {tag: {"$ref": f"#/components/messages/{tag}"} for tag in sent | taken},
                "bindings": {
                    "ws": {"method": "GET", "query": {"type": "object", "properties": query}, "bindingVersion": "0.1.0"}
                },
            }
        },
        "operations": {
            "send_events": _build_operation("send", "Every event of the session, each client at its own pace.", sent),
            "receive_commands": _build_operation("receive", "Commands; each is answered by a command.result.", taken)
            | {"reply": {"channel": {"$ref": "#/channels/feed"}, "messages": _refer_to(["command.result"])}},
        },
        "components": {
            "messages": {
                tag: {"name": tag, "summary": _first_line(components[name]), "payload": _build_payload(name)}
                for tag, name in (sent | taken).items()
            },
            "schemas": components,
        },
    }


def _tags_of(union: dict[str, Any]) -> dict[str, str]:
    """Struct names by the tags of their messages."""
    return {tag: reference.rpartition("/")[2] for tag, reference in union["discriminator"]["mapping"].items()}


def _build_payload(name: str) -> dict[str, Any]:
    return {"schemaFormat": f"application/schema+json;version={_DIALECT}"} | {
        "schema": {"$ref": f"#/components/schemas/{name}"}
    }


def _first_line(component: dict[str, Any]) -> str:
    description: str = component["description"]
    return description.partition("\n\n")[0].replace("\n", " ")


def _build_operation(action: str, summary: str, tags: dict[str, str]) -> dict[str, Any]:
    channel = {"$ref": "#/channels/feed"}
    return {"action": action, "channel": channel, "summary": summary, "messages": _refer_to(list(tags))}


def _refer_to(tags: list[str]) -> list[dict[str, str]]:
    return [{"$ref": f"#/channels/feed/messages/{tag}"} for tag in tags]


def build_documents() -> dict[str, bytes]:
    """Both build_documents as they are committed and served, by the name of their file."""
    return {
        name: msgspec.json.format(msgspec.json.encode(document, order="deterministic")) + b"\n"
        for name, document in (("events.json", build_json_schema()), ("asyncapi.json", build_asyncapi()))
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, document in build_documents().items():
        (FOLDER / name).write_bytes(document)
        print(FOLDER / name)
