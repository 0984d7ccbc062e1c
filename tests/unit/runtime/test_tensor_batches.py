"""Batches of the Open Inference Protocol through a loaded handler."""

import json
import struct

import pytest

from flambeau.request import InferenceRequest, Purpose, RowError
from flambeau.runtime import load_handler

SIGNATURE = """
signature:
  inputs: [{name: x, datatype: FP32, shape: [2]}]
  outputs: [{name: y, datatype: FP32, shape: [2]}]
"""
MODEL = {"modelName": "m", "modelVersion": "2.0", "handler": "handler.py", "configFile": "config.yaml"}

DOUBLE = """
def handle(data, context):
    return None if data is None else [{"y": row["x"] * 2} for row in data]
"""


@pytest.fixture
def typed(model_dir):
    def load(source=DOUBLE, config=SIGNATURE, **arguments):
        return load_handler(model_dir({"handler.py": source, "config.yaml": config}, MODEL), **arguments)

    return load


def binary_request(*floats, name="x", outputs=None, request_id="id"):
    binary = struct.pack(f"<{len(floats)}f", *floats)
    tensor = {
        "name": name,
        "datatype": "FP32",
        "shape": [len(floats)],
        "parameters": {"binary_data_size": len(binary)},
    }
    header = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    if outputs is not None:
        header["outputs"] = outputs
    fields = [("body", "application/json", bytearray(json.dumps(header).encode()))]
    fields.append(("binary", "application/octet-stream", bytearray(binary)))
    return InferenceRequest(request_id, [], fields, Purpose.INFER)


def json_request(text, content_type="application/json"):
    return InferenceRequest("id", [], [("body", content_type, bytearray(text.encode()))], Purpose.INFER)


def floats_of(reply):
    assert not reply.error, reply
    length = int(dict(reply.headers)["Inference-Header-Content-Length"])
    return list(struct.unpack("<2f", bytes(reply.body)[length:]))


def test_a_handler_with_a_signature_gets_arrays_and_gives_some(typed):
    replies = typed().run([binary_request(1, 2), binary_request(3, 4)])
    assert [floats_of(reply) for reply in replies] == [[2, 4], [6, 8]]
    body = bytes(replies[0].body)
    header = json.loads(body[: body.index(b"}]}") + 3])
    assert (header["model_name"], header["model_version"]) == ("m", "2.0")
    assert dict(replies[0].headers)["content-type"] == "application/octet-stream"


def test_json_is_answered_with_json(typed):
    text = '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2]}]}'
    (reply,) = typed().run([json_request(text)])
    assert json.loads(bytes(reply.body))["outputs"][0]["data"] == [2.0, 4.0]
    assert dict(reply.headers) == {"content-type": "application/json"}


def test_the_content_type_of_a_request_does_not_matter(typed):
    text = '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2]}]}'
    (reply,) = typed().run([json_request(text, "")])
    assert json.loads(bytes(reply.body))["outputs"][0]["data"] == [2.0, 4.0]


@pytest.mark.parametrize("isolate", [True, False])
def test_a_request_that_cannot_be_read_is_refused_and_costs_the_others_nothing(typed, isolate):
    source = DOUBLE.replace("data]", "data if not print(len(data))]")
    replies = typed(source, isolate_failures=isolate).run(
        [binary_request(1, 2), binary_request(1, 2, 3), json_request("{"), binary_request(3, 4, request_id="last")]
    )
    assert floats_of(replies[0]) == [2, 4]
    assert replies[1].error == replies[2].error == RowError.UNUSABLE
    assert replies[1].body == b"Input 'x' has the shape [3], the model takes [2]."
    assert floats_of(replies[3]) == [6, 8]


def test_the_handler_is_not_called_for_a_batch_of_which_nothing_can_be_read(typed):
    handler = typed("def handle(data, context):\n    assert data is None")
    (reply,) = handler.run([json_request("[]")])
    assert reply.error == RowError.UNUSABLE


def test_a_form_is_refused(typed):
    request = InferenceRequest("id", [], [("x", "", bytearray(b"1"))], Purpose.INFER)
    (reply,) = typed().run([request])
    assert (reply.error, reply.body) == (RowError.UNUSABLE, b"The request is a form; send it as application/json.")


def test_what_the_context_knows_belongs_to_the_rows_that_the_handler_gets(typed):
    source = """
    def handle(data, context):
        if data is None:
            return None
        for index in range(len(data)):
            context.set_response_header(index, "id", context.get_request_id(index))
            context.set_response_status(201, idx=index)
        return [row["x"] for row in data]
    """
    requests = [binary_request(1, 2, 3), binary_request(1, 2, request_id="second")]
    refused, reply = typed(source).run(requests)
    assert refused.error == RowError.UNUSABLE
    assert reply.status == 201
    assert dict(reply.headers)["id"] == "second"
    assert floats_of(reply) == [1, 2]


def test_a_batch_that_fails_is_run_again_with_the_rows_as_they_came(typed):
    source = """
    def handle(data, context):
        if data is None:
            return None
        values = [row.pop("x") for row in data]
        if len(values) > 1 or values[0][0] == 13:
            raise RuntimeError
        return values
    """
    replies = typed(source).run([binary_request(1, 2), binary_request(13, 0), binary_request(3, 4)])
    assert [reply.error for reply in replies] == [RowError.NONE, RowError.FAILED, RowError.NONE]
    assert floats_of(replies[2]) == [3, 4]


def test_a_row_whose_result_is_no_tensor_fails_alone(typed):
    source = """
    def handle(data, context):
        return None if data is None else [row["x"] if row["x"][0] else object() for row in data]
    """
    replies = typed(source).run([binary_request(0, 2), binary_request(1, 2)])
    assert [reply.error for reply in replies] == [RowError.FAILED, RowError.NONE]
    assert replies[0].body == b"Unsupported model output data type."


def test_a_row_may_be_answered_with_an_exception(typed):
    source = """
    from ts.utils.util import PredictionException

    def handle(data, context):
        return None if data is None else [PredictionException("no", 418)]
    """
    (reply,) = typed(source).run([binary_request(1, 2)])
    assert (reply.error, reply.status, reply.body) == (RowError.REJECTED, 418, b"no")


def test_an_output_that_there_is_not_is_refused_also_where_no_signature_names_them(typed):
    handler = typed("def handle(data, context):\n    return data", "signature: {}")
    (reply,) = handler.run([binary_request(1, 2, outputs=[{"name": "q"}])])
    assert (reply.error, reply.body) == (RowError.UNUSABLE, b"There is no output 'q'; there are x.")


def test_an_answer_over_the_limit_fails(typed):
    (reply,) = typed(max_response_bytes=100).run([binary_request(1, 2)])
    assert reply.error == RowError.FAILED
    assert b"over the limit of 100 bytes" in reply.body


def test_a_handler_with_a_signature_gets_predictions_as_any_other(typed, request_of):
    handler = typed("def handle(data, context):\n    return None if data is None else [row['body'] for row in data]")
    (reply,) = handler.run([request_of(b"raw")])
    assert reply.body == b"raw"


ANSWER = "def handle(data, context):\n    return None if data is None else [row['body'] for row in data]"


def test_a_handler_without_a_signature_gets_the_protocols_json_however_it_came(load):
    handler = load(ANSWER)
    (reply,) = handler.run([binary_request(1, 2)])
    (tensor,) = json.loads(bytes(reply.body))["inputs"]
    assert tensor == {"name": "x", "shape": [2], "datatype": "FP32", "data": [1.0, 2.0]}
    (reply,) = handler.run([json_request('{"inputs": [1]}')])
    assert json.loads(bytes(reply.body)) == {"inputs": [1]}
    (reply,) = handler.run([json_request("no JSON")])
    assert reply.body == b"no JSON"


def test_bytes_that_do_not_fit_are_refused_before_a_handler_without_a_signature_sees_them(load):
    request = binary_request(1, 2)
    request.parameters[1][2].extend(b"more")
    refused, reply = load(ANSWER).run([request, binary_request(1, 2)])
    assert refused.body == b"4 bytes behind the JSON belong to no input."
    assert not reply.error


def test_a_signature_that_cannot_be_used_counts_as_none(typed):
    (reply,) = typed(ANSWER, "signature: 5").run([binary_request(1, 2)])
    assert "inputs" in json.loads(bytes(reply.body))
