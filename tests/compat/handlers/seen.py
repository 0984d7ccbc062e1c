"""Answers each row with what the handler saw of it: types and values of its fields, and the request's headers."""


def handle(data, context):
    if data is None:
        return None
    return [
        {
            "row": {name: [type(value).__name__, _plain(value)] for name, value in row.items()},
            "headers": context.get_all_request_header(index),
        }
        for index, row in enumerate(data)
    ]


def _plain(value):
    return value.decode("latin-1") if isinstance(value, bytearray) else value
