"""Echo, as a TorchServe handler: Flambeau and TorchServe serve this same folder."""


def handle(data, context):
    return [row["body"] for row in data] if data else None
