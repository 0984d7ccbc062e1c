"""Specifications of workflows: what they say, and how they are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.errors import InvalidGraph, InvalidWorkflow
from flambeau.workflows.spec import MAX_SPEC_BYTES, NodeSettings, parse_spec

SPEC = """
models:
  min-workers: 1
  max-workers: 2
  batch-size: 4
  max-batch-delay: 20
  retry-attempts: 3
  timeout-ms: 5000
  m1:
    url: first.mar
  m2:
    url: second.mar
    max-workers: 1
    batch-size: 2
dag:
  pre: [m1]
  m1: [m2]
  m2: [post]
"""


def test_a_model_has_the_settings_of_all_models_and_its_own_over_them():
    nodes = {node.name: node for node in parse_spec(SPEC, "spec.yaml").nodes}
    assert nodes["m1"].url == "first.mar"
    common = NodeSettings(max_workers=2, batch_size=4, max_batch_delay_s=0.02, retry_attempts=3, timeout_s=5.0)
    assert nodes["m1"].settings == common
    assert nodes["m2"].settings == NodeSettings(
        max_workers=1, batch_size=2, max_batch_delay_s=0.02, retry_attempts=3, timeout_s=5.0
    )


def test_a_node_that_is_no_model_is_a_function_with_one_worker_that_does_not_wait_for_company():
    spec = parse_spec(SPEC, "spec.yaml")
    assert spec.functions == ["pre", "post"]
    assert spec.nodes[0].is_function
    assert spec.nodes[0].settings == NodeSettings(max_batch_delay_s=0.0, retry_attempts=3, timeout_s=5.0)


def test_settings_that_are_not_given_are_those_of_torchserve():
    (node,) = parse_spec("models: {m: {url: m.mar}}\ndag: {m: }", "spec.yaml").nodes
    assert node.settings == NodeSettings(
        min_workers=1, max_workers=1, batch_size=1, max_batch_delay_s=0.05, retry_attempts=1, timeout_s=10.0
    )


@pytest.mark.parametrize(
    ("settings", "workers"),
    [("min-workers: 3", (3, 3)), ("max-workers: 0", (0, 0)), ("max-workers: 3", (1, 3))],
)
def test_one_number_of_workers_moves_the_other_out_of_its_way(settings, workers):
    (node,) = parse_spec(f"models: {{m: {{url: m.mar, {settings}}}}}\ndag: {{m: []}}", "spec.yaml").nodes
    assert (node.settings.min_workers, node.settings.max_workers) == workers


def test_a_model_outside_the_graph_and_a_key_that_means_nothing_are_doubts():
    text = "models: {batchSize: 2, a: {url: a.mar, colour: red}, b: {url: b.mar}}\ndag: {a: []}"
    assert parse_spec(text, "s.yaml").warnings == (
        "s.yaml: models: batchSize is neither a setting nor a model; it is ignored.",
        "s.yaml: models: a: colour is no setting; it is ignored.",
        "s.yaml: models: b is not in the dag, so it is not served.",
    )


def test_a_workflow_of_functions_alone_needs_no_models():
    assert parse_spec("dag: {pre: [post]}", "s.yaml").functions == ["pre", "post"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("models: [1, 2\ndag: {{", "Failed to parse yaml. (s.yaml, line 2: "),
        ("- a", "s.yaml must be a mapping."),
        ("", "s.yaml must be a mapping."),
        ("models: {m: {url: m.mar}}", "s.yaml: dag must be a mapping."),
        ("models: 3\ndag: {a: []}", "s.yaml: models must be a mapping."),
        ("models: {m: {batch-size: 2}}\ndag: {m: []}", "s.yaml: models: m: url must name the model's archive."),
        (
            "models: {min-workers: x}\ndag: {a: []}",
            "s.yaml: models: min-workers must be an integer of at least 0, not 'x'",
        ),
        (
            "models: {batch-size: true}\ndag: {a: []}",
            "s.yaml: models: batch-size must be an integer of at least 1, not",
        ),
        (
            "models: {timeout-ms: 0}\ndag: {a: []}",
            "s.yaml: models: timeout-ms must be an integer of at least 1, not 0.",
        ),
        (
            "models: {min-workers: 2, max-workers: 1}\ndag: {a: []}",
            "s.yaml: models: max-workers must not be less than min-workers.",
        ),
        ("dag: {pre: post}", "s.yaml: dag: pre must be a list of node names."),
        ("dag: {pre: [1]}", "s.yaml: dag: pre must be a list of node names."),
        ("dag: {1: [a]}", "s.yaml: dag: 1 must be text: put it in quotes."),
        ("dag: {a: [b-c]}", "s.yaml: dag: b-c is none of the models, and cannot be the name of a function."),
        ("models: {a/b: {url: m.mar}}\ndag: {a/b: []}", "s.yaml: models: the name 'a/b' cannot stand in a URL."),
        ("dag: {}\ndag: {a: []}", "Failed to parse yaml. (s.yaml, line 2: dag appears twice)"),
        (
            "models:\n  a: {url: a.mar}\n  a: {url: b.mar}\ndag: {a: []}",
            "Failed to parse yaml. (s.yaml, line 3: a appears twice)",
        ),
        ("[" * 10_000, "Failed to parse yaml. (s.yaml"),
        ("#" * (MAX_SPEC_BYTES + 1), "Failed to parse yaml. (s.yaml is larger than"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text, sentence):
    with pytest.raises(InvalidWorkflow) as refused:
        parse_spec(text, "s.yaml")
    assert refused.value.message.startswith(sentence)


@given(
    st.text() | st.lists(st.sampled_from(["models:", "dag:", "a: ", "[", "]", "{", "}", "\n  ", "&x", "*x", "!!set"]))
)
def test_any_text_is_a_specification_or_refused(text):
    try:
        parse_spec("".join(text), "s.yaml")
    except (InvalidWorkflow, InvalidGraph):
        pass
