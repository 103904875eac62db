"""Plain values as JSON; ``error_report`` loads it when JSON is asked for."""

import json


def json_text(value: object) -> str:
    """A line of JSON, without its end."""
    return json.dumps(value)
