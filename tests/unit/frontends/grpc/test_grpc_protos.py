"""The messages on the wire: TorchServe's names and numbers, and modules that are what the .proto files give."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

import flambeau
from flambeau.frontends.grpc.protos import inference_pb2, management_pb2, open_inference_pb2

SOURCE = Path(flambeau.__file__).parent.parent
PROTOS = sorted((SOURCE / "flambeau/frontends/grpc/protos").glob("*.proto"))

TYPES = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_DOUBLE: "double",
}

TORCHSERVE = """
inference.PredictionsRequest: 1 model_name string, 2 model_version string, 3 input map, 4 sequence_id string
inference.PredictionResponse: 1 prediction bytes, 2 sequence_id string, 3 status google.rpc.Status
inference.TorchServeHealthResponse: 1 health string
management.ManagementResponse: 1 msg string
management.DescribeModelRequest: 1 model_name string, 2 model_version string, 3 customized bool
management.ListModelsRequest: 1 limit int32, 2 next_page_token int32
management.RegisterModelRequest: 1 batch_size int32, 2 handler string, 3 initial_workers int32, \
4 max_batch_delay int32, 5 model_name string, 6 response_timeout int32, 7 runtime string, 8 synchronous bool, \
9 url string, 10 s3_sse_kms bool, 11 startup_timeout int32
management.ScaleWorkerRequest: 1 model_name string, 2 model_version string, 3 max_worker int32, 4 min_worker int32, \
5 number_gpu int32, 6 synchronous bool, 7 timeout int32
management.SetDefaultRequest: 1 model_name string, 2 model_version string
management.UnregisterModelRequest: 1 model_name string, 2 model_version string
openinference.ModelReadyRequest: 1 name string, 2 version string
openinference.ModelReadyResponse: 1 ready bool
openinference.ServerLiveResponse: 1 live bool
openinference.ServerReadyResponse: 1 ready bool
openinference.ServerMetadataResponse: 1 name string, 2 version string, 3 extensions string
openinference.ModelMetadataRequest: 1 name string, 2 version string
openinference.ModelInferRequest: 1 model_name string, 2 model_version string, 3 id string, 4 parameters map, \
5 inputs InferInputTensor, 6 outputs InferRequestedOutputTensor, 7 raw_input_contents bytes
openinference.ModelInferResponse: 1 model_name string, 2 model_version string, 3 id string, 4 parameters map, \
5 outputs InferOutputTensor, 6 raw_output_contents bytes
openinference.ModelMetadataResponse: 1 name string, 2 versions string, 3 platform string, 4 inputs TensorMetadata, \
5 outputs TensorMetadata
openinference.InferParameter: 1 bool_param bool, 2 int64_param int64, 3 string_param string, 4 double_param double, \
5 uint64_param uint64
openinference.InferTensorContents: 1 bool_contents bool, 2 int_contents int32, 3 int64_contents int64, \
4 uint_contents uint32, 5 uint64_contents uint64, 6 fp32_contents float, 7 fp64_contents double, 8 bytes_contents bytes
"""

MODULES = {"inference": inference_pb2, "management": management_pb2, "openinference": open_inference_pb2}


def described(field):
    message = field.message_type
    if message is None:
        kind = TYPES[field.type]
    elif message.GetOptions().map_entry:
        kind = "map"
    else:
        kind = message.name if message.file is field.file else message.full_name
    return f"{field.number} {field.name} {kind}"


@pytest.mark.parametrize("line", TORCHSERVE.strip().splitlines(), ids=lambda line: line.partition(":")[0])
def test_a_message_has_the_fields_that_clients_know(line):
    name, _, fields = line.partition(": ")
    package, _, message = name.partition(".")
    descriptor = MODULES[package].DESCRIPTOR.message_types_by_name[message]
    assert descriptor.full_name == f"org.pytorch.serve.grpc.{name}"
    assert ", ".join(described(field) for field in descriptor.fields) == fields


@pytest.mark.parametrize("path", PROTOS, ids=lambda path: path.stem)
def test_a_module_is_what_its_proto_file_gives(path, tmp_path):
    protoc = pytest.importorskip("grpc_tools.protoc")
    common = Path(importlib.import_module("google.rpc.status_pb2").__file__).parents[2]
    builtin = Path(protoc.__file__).parent / "_proto"
    name = str(path.relative_to(SOURCE))
    arguments = [f"-I{folder}" for folder in (SOURCE, common, builtin)]
    assert protoc.main(["protoc", *arguments, f"--descriptor_set_out={tmp_path / 'out'}", name]) == 0
    (generated,) = FileDescriptorSet.FromString((tmp_path / "out").read_bytes()).file
    module = importlib.import_module(f"flambeau.frontends.grpc.protos.{path.stem}_pb2")
    committed = FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
    for descriptor in (generated, committed):  # json names are the compiler's own, and say nothing new
        for message in descriptor.message_type:
            clear_json_names(message)
    assert committed == generated


def clear_json_names(message):
    for field in message.field:
        field.ClearField("json_name")
    for nested in message.nested_type:
        clear_json_names(nested)
