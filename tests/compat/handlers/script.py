"""Runs each request's text as Python: it sets ``answers`` or raises, and so a scenario shows what its handler does."""

from ts.utils.util import PredictionException


def handle(data, context):
    if data is None:
        return None
    scope = {"context": context, "PredictionException": PredictionException}
    exec(data[0]["body"], scope)
    return scope["answers"]
