import pytest

from flambeau.signature import Signature, TensorSpec, parse_signature


def test_a_signature_is_what_its_yaml_says():
    declared = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}, {"name": "k", "datatype": "INT8", "shape": []}],
        "outputs": [{"name": "y", "datatype": "BYTES", "shape": [-1]}],
    }
    x, k = parse_signature(declared).inputs
    assert x == TensorSpec("x", "FP32", (-1, 3))
    assert (k.shape, k.optional) == ((), False)
    assert parse_signature({}) == Signature()


def test_any_size_and_no_other_may_differ():
    spec = TensorSpec("x", "FP32", (-1, 3))
    assert spec.allows([0, 3])
    assert spec.allows([7, 3])
    assert not spec.allows([7, 4])
    assert not spec.allows([7])
    assert not spec.allows([7, 3, 1])


def tensor(**changes):
    return {"name": "x", "datatype": "FP32", "shape": [1], **changes}


@pytest.mark.parametrize(
    "declared",
    [
        None,
        [],
        "FP32",
        {"input": []},
        {"inputs": [{"name": "x", "datatype": "FP32"}]},
        {"inputs": [tensor(name="")]},
        {"inputs": [tensor(datatype="FLOAT")]},
        {"inputs": [tensor(shape=[-2])]},
        {"inputs": [tensor(shape=["n"])]},
        {"inputs": [tensor(shape=[1] * 33)]},
        {"inputs": [tensor(shape=[1], dtype="FP32")]},
        {"inputs": [tensor(), tensor()]},
        {"outputs": [tensor(optional=True)]},
    ],
)
def test_what_is_no_signature_is_refused(declared):
    with pytest.raises(ValueError, match="is no signature: "):
        parse_signature(declared)
