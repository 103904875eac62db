"""Protobuf messages as JSON; ``printing`` loads it when JSON is asked for."""

import json

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message


def message_line(message: Message) -> str:
    """A message as a line of JSON, without its end; the field names are those of the proto."""
    return json.dumps(MessageToDict(message, preserving_proto_field_name=True))
