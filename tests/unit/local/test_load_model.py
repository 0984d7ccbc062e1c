import os
import sys
import tempfile
import threading
from functools import partial
from pathlib import Path

import pytest

import flambeau
from flambeau.archive.plan import ArchiveSpec
from flambeau.archive.writer import write_archive
from flambeau.errors import ConfigError, InvalidModel, ModelNotFound, WrongResults
from flambeau.local import Fields
from tests.serving import write_model
from tests.unit.local.engines import LIMIT_S, Held, calls, wait_for


@pytest.fixture(autouse=True)
def _imports_are_undone(monkeypatch):
    before = dict(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name, module in list(sys.modules.items()):
        if name not in before and (getattr(module, "__file__", None) or "").startswith(tempfile.gettempdir()):
            del sys.modules[name]


def double(rows):
    return [row * 2 for row in rows]


# --- functions and classes -------------------------------------------------------------------------------------------


def test_a_function_is_a_model_of_its_own_name():
    with flambeau.load(double) as model:
        assert model(3) == 6
        assert model.name == "double"
    with flambeau.load(double, name="twice") as model:
        assert model.name == "twice"


@pytest.mark.parametrize(
    "source", [lambda rows: [row * 2 for row in rows], partial(map, lambda row: row * 2), double.__call__]
)
def test_anything_that_is_called_is_a_model_if_it_returns_lists(source):
    with flambeau.load(source) as model:
        if isinstance(source, partial):
            with pytest.raises(WrongResults, match="partial returned map, not a list with one result a row"):
                model(3)
        else:
            assert model(3) == 6


def test_tuples_of_results_will_do():
    with flambeau.load(lambda rows: tuple(rows), batch_size=2) as model:
        assert list(model.map("abc")) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (None, "f returned NoneType, not a list with one result a row"),
        ({"a": 1}, "f returned dict, not a list with one result a row"),
        ([], "f returned 0 results for 1 rows"),
        ([1, 2], "f returned 2 results for 1 rows"),
    ],
)
def test_wrong_results_say_what_was_returned(results, message):
    with flambeau.load(lambda rows: results, name="f") as model:
        with pytest.raises(WrongResults) as raised:
            model("row")
        assert str(raised.value) == message
        with pytest.raises(WrongResults):
            model.submit("row").result(LIMIT_S)


def test_of_a_class_each_worker_has_an_instance():
    made, used, both = [], set(), threading.Barrier(2, timeout=LIMIT_S)

    class Model:
        def __init__(self):
            made.append(self)

        def __call__(self, rows):
            both.wait()
            used.add(self)
            return rows

    with flambeau.load(Model, workers=2) as model, calls() as started:
        assert model.name == "Model"
        assert len(made) == 2
        started.start(1, lambda: model(1))
        started.start(2, lambda: model(2))
        assert started.join() == {1: 1, 2: 2}
    assert used == set(made)


class UpperHandler:
    def initialize(self, context):
        self.context = context
        self.properties = context.system_properties

    def handle(self, data, context):
        assert context is self.context
        return [
            (
                row["body"].upper() if "body" in row else dict(row),
                self.properties["batch_size"],
                context.get_request_id(0),
            )
            for row in data
        ]


def test_a_handler_class_gets_rows_as_a_server_would_give_them():
    with flambeau.load(UpperHandler, batch_size=5) as model:
        first, second = model("a"), model("b")
        assert first[:2] == ("A", 5)
        assert first[2] != second[2]
        assert model(Fields(x=1, y="z"))[0] == {"x": 1, "y": "z"}


def test_a_handler_class_that_fails_to_initialize_says_so_and_nothing_is_left():
    class Broken:
        def initialize(self, context):
            raise OSError("no weights")

        def handle(self, data, context):
            return data

    before = threading.active_count()
    with pytest.raises(OSError, match="no weights"):
        flambeau.load(Broken)
    assert threading.active_count() <= before


# --- modules ---------------------------------------------------------------------------------------------------------

torch = pytest.importorskip("torch")


class Affine(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 1, bias=False)
        self.dropout = torch.nn.Dropout(0.99)
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor([[2.0, 3.0]]))

    def forward(self, x):
        assert not torch.is_grad_enabled()
        return self.linear(self.dropout(x))


@pytest.mark.parametrize("source", [Affine, Affine()], ids=["class", "instance"])
def test_a_module_gets_rows_stacked_and_its_output_is_taken_apart(source):
    with flambeau.load(source, batch_size=4) as model:
        results = list(model.map([torch.tensor([1.0, 1.0]), torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])]))
        assert [result.tolist() for result in results] == [[5.0], [3.0], [2.0]]
        assert not results[0].requires_grad


class Parts(torch.nn.Module):
    """Of rows that are dicts, its output as told."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, batch):
        return self.output(batch)


def test_rows_and_outputs_may_be_dicts_and_tuples():
    module = Parts(lambda batch: {"sum": batch["a"] + batch["b"][0], "both": (batch["a"], [batch["b"][1]])})
    with flambeau.load(module, batch_size=3) as model:
        rows = [{"a": float(row), "b": (torch.tensor([row, row]), row)} for row in range(3)]
        with pytest.raises(RuntimeError):  # [3] + [3, 2] does not broadcast
            model({"a": torch.zeros(3), "b": (torch.zeros(2), 0)})
        module.output = lambda batch: {"sum": batch["a"] * 2, "both": (batch["b"][0], [batch["b"][1]])}
        results = [model(row) for row in rows] + list(model.map(rows))
    for row, result in zip([0, 1, 2] * 2, results, strict=True):
        assert result["sum"].item() == 2.0 * row
        assert result["both"][0].tolist() == [row, row]
        assert result["both"][1][0].item() == row


def test_numbers_and_arrays_are_rows_of_a_module():
    numpy = pytest.importorskip("numpy")
    with flambeau.load(Parts(lambda batch: batch * 2)) as model:
        assert model(3).item() == 6
        assert model(1.5).item() == 3.0
        assert model(numpy.ones((2, 2))).tolist() == [[2.0, 2.0], [2.0, 2.0]]


def test_ragged_rows_cannot_be_stacked_and_are_run_one_by_one():
    held, sizes = Held(), []

    def output(batch):
        if batch.shape[-1] == 1:
            held([0])
        sizes.append(len(batch))
        return batch

    with flambeau.load(Parts(output), batch_size=4) as model:
        first = model.submit(torch.zeros(1))
        held.wait_until_begun()
        futures = [model.submit(torch.ones(size)) for size in (2, 3, 4)]
        held.let_go()
        assert [future.result(LIMIT_S).shape[0] for future in (first, *futures)] == [1, 2, 3, 4]
    assert sizes == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda batch: batch.sum(), r"the module returned a tensor of shape \(\) for 1 rows"),
        (lambda batch: torch.zeros(3, 2), r"the module returned a tensor of shape \(3, 2\) for 1 rows"),
        (lambda batch: {"a": batch, "b": torch.zeros(2)}, r"a tensor of shape \(2,\) for 1 rows"),
        (lambda batch: "text", "the module returned str, not tensors"),
        (lambda batch: (batch, None), "the module returned NoneType, not tensors"),
    ],
)
def test_outputs_that_are_not_one_value_a_row_say_so(output, message):
    with flambeau.load(Parts(output)) as model, pytest.raises(WrongResults, match=message):
        model(torch.ones(1))


def test_a_module_is_moved_to_the_device_and_a_device_that_is_not_there_says_so():
    with flambeau.load(Affine, device="cpu") as model:
        assert model(torch.ones(2)).tolist() == [5.0]
        assert model.describe()["device"] == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises((RuntimeError, AssertionError), match=r"CUDA|NVIDIA"):
            flambeau.load(Affine, device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_module_runs_on_the_gpu_and_takes_rows_from_the_cpu():
    with flambeau.load(Affine, device="cuda", batch_size=2) as model:
        results = list(model.map([torch.ones(2)] * 3))
        assert [result.device.type for result in results] == ["cuda"] * 3


# --- archives and folders --------------------------------------------------------------------------------------------

HANDLER = """
class Handler:
    def initialize(self, context):
        self.context = context
        self.factor = context.model_yaml_config.get("factor", 2)
        self.directory = context.system_properties["model_dir"]

    def handle(self, data, context):
        if any(row["body"] == b"fail" for row in data):
            raise ValueError("warm-up of " + str(len(data)))
        return [(row["body"] * self.factor, len(data)) if isinstance(row["body"], int) else row["body"] for row in data]
"""


@pytest.fixture
def archive(tmp_path):
    """Writes ``.mar`` files of a handler and of its YAML."""

    def write(config=None, handler=HANDLER, name="doubler", **files):
        folder = tmp_path / f"{name}-files"
        folder.mkdir()
        (folder / f"{name}_handler.py").write_text(handler)
        for file, content in files.items():
            (folder / file).write_bytes(content)
        if config is not None:
            (folder / "model-config.yaml").write_text(config)
        return write_archive(
            ArchiveSpec(
                model_name=name,
                handler=str(folder / f"{name}_handler.py"),
                export_path=tmp_path,
                extra_files=tuple(str(folder / file) for file in files),
                config_file=None if config is None else folder / "model-config.yaml",
            )
        )

    return write


def unpacked_models():
    root = Path(tempfile.gettempdir()) / f"flambeau-local-{os.getpid()}"
    return list(root.iterdir()) if root.exists() else []


def test_an_archive_is_a_model_and_its_files_go_when_it_is_closed(archive):
    path = archive()
    assert path.suffix == ".mar"
    before = unpacked_models()
    with flambeau.load(path) as model:
        assert model.name == "doubler"
        assert model(21) == (42, 1)
        assert len(unpacked_models()) == len(before) + 1
        assert model.describe()["source"] == str(path)
    assert unpacked_models() == before
    with flambeau.load(str(path), name="other") as model:
        assert model.name == "other"


def test_the_files_of_a_model_that_is_dropped_go_too(archive):
    before = unpacked_models()
    model = flambeau.load(archive())
    future = model.submit(4)
    del model
    assert future.result(LIMIT_S) == (8, 1)
    wait_for(lambda: unpacked_models() == before)


def test_a_folder_is_a_model_and_stays_where_it_is(tmp_path):
    source = "def handle(data, context):\n    return [row['body'] for row in data]\n"
    folder = write_model(tmp_path, "folder_model", source)
    with flambeau.load(folder) as model:
        assert model.name == "folder_model"
        assert model("x") == "x"
    assert (folder / "handler.py").exists()


YAML = """
batchSize: 3
maxBatchDelay: 7
batchPolicy: fixed
minWorkers: 2
maxWorkers: 2
jobQueueSize: 11
isolateFailures: false
factor: 10
"""


def test_an_archives_own_settings_hold(archive):
    with flambeau.load(archive(YAML)) as model:
        described = model.describe()
        assert {key: described[key] for key in ("batchSize", "maxBatchDelayMs", "batchPolicy")} == {
            "batchSize": 3,
            "maxBatchDelayMs": 7.0,
            "batchPolicy": "fixed",
        }
        assert len(described["workers"]) == 2
        assert described["queue"]["limit"] == 11
        assert model(3)[0] == 30
        assert not model._engine._isolates


def test_settings_that_are_given_go_before_an_archives_own(archive):
    with flambeau.load(
        archive(YAML),
        batch_size=5,
        max_batch_delay_ms=0.5,
        batch_policy="adaptive",
        workers=1,
        queue_size=4,
        isolate_failures=True,
    ) as model:
        described = model.describe()
        assert {key: described[key] for key in ("batchSize", "maxBatchDelayMs", "batchPolicy")} == {
            "batchSize": 5,
            "maxBatchDelayMs": 0.5,
            "batchPolicy": "adaptive",
        }
        assert len(described["workers"]) == 1
        assert described["queue"]["limit"] == 4
        assert model._engine._isolates


def test_without_settings_a_model_has_one_worker_batches_of_one_and_no_limit(archive):
    for source in (archive(), double):
        with flambeau.load(source) as model:
            described = model.describe()
            assert (described["batchSize"], described["batchPolicy"], described["maxBatchDelayMs"]) == (
                1,
                "adaptive",
                100.0,
            )
            assert len(described["workers"]) == 1
            assert described["queue"]["limit"] is None


def test_an_archives_settings_that_cannot_be_used_are_logged_as_the_server_does(archive, caplog):
    with flambeau.load(archive("batchSize: many\n")) as model:
        assert model.describe()["batchSize"] == 1
    assert "model doubler: model-config.yaml: batchSize: 'many' is not an integer; ignored" in caplog.text


def test_an_archives_handler_that_fails_to_load_says_so_and_its_files_are_removed(archive):
    before = unpacked_models()
    with pytest.raises(ZeroDivisionError):
        flambeau.load(archive(handler="1 / 0\n", name="broken"))
    assert unpacked_models() == before


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "text.mar").write_text("no zip")
    with pytest.raises(InvalidModel):
        flambeau.load(tmp_path / "text.mar")
    with pytest.raises(ModelNotFound):
        flambeau.load(tmp_path / "none.mar")


def test_an_object_of_a_file_is_a_model(tmp_path):
    (tmp_path / "program_of_test.py").write_text("def triple(rows):\n    return [row * 3 for row in rows]\n")
    with flambeau.load(f"{tmp_path / 'program_of_test.py'}:triple") as model:
        assert model(2) == 6
        assert model.name == "triple"


# --- warm-up ---------------------------------------------------------------------------------------------------------


def test_every_worker_answers_the_warm_up_rows_before_load_returns():
    seen = []

    class Model:
        def __call__(self, rows):
            seen.append((id(self), rows))
            return [(row for row in rows)]  # parts, which are to be run too

    with flambeau.load(Model, workers=2, warm_up=iter(["a", "b"])):
        assert [rows for _, rows in seen] == [["a"], ["b"]] * 2
        assert len({worker for worker, _ in seen}) == 2


def test_a_warm_up_row_that_fails_fails_the_load():
    with pytest.raises(ValueError, match="cold"):
        flambeau.load(lambda rows: [ValueError("cold")], warm_up=[1])

    def run(rows):
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        flambeau.load(run, warm_up=[1])
    with pytest.raises(WrongResults):
        flambeau.load(lambda rows: None, warm_up=[1])


def test_an_archives_warm_up_files_are_answered_before_the_rows_that_are_given(archive):
    handler = HANDLER.replace(
        "def handle(self, data, context):", "def handle(self, data, context):\n        seen.append(data[0]['body'])"
    )
    path = archive("warmUp: [one.txt, two.txt]\n", "seen = []\n" + handler, **{"one.txt": b"1", "two.txt": b"2"})
    with flambeau.load(path, warm_up=[b"3"]):
        assert sys.modules["doubler_handler"].seen == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    ("config", "kind", "message"),
    [
        ("warmUp: [bad.txt]\n", ValueError, "warm-up of 1"),
        ("warmUp: [none.txt]\n", InvalidModel, "warmUp names none.txt, which is not a file of the archive"),
        ("warmUp: [../outside.txt]\n", InvalidModel, "warmUp names ../outside.txt"),
    ],
)
def test_an_archives_warm_up_that_fails_fails_the_load_and_its_files_are_removed(archive, config, kind, message):
    before = unpacked_models()
    with pytest.raises(kind, match=message):
        flambeau.load(archive(config, **{"bad.txt": b"fail"}))
    assert unpacked_models() == before


# --- bad arguments ---------------------------------------------------------------------------------------------------


async def asynchronous(rows):
    return rows


class Asynchronous:
    async def __call__(self, rows):
        return rows


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (5, "source=int: is not a function, class, nn.Module, archive or folder"),
        (None, "source=NoneType: is not a function, class, nn.Module, archive or folder"),
        (object, "source=object: is not a function, class, nn.Module, archive or folder"),
        (asynchronous, "source=asynchronous: is asynchronous; a plain function of a list of rows is needed"),
        (Asynchronous, "source=Asynchronous: is asynchronous; a plain function of a list of rows is needed"),
    ],
)
def test_what_is_no_model_is_refused(source, message):
    with pytest.raises(ConfigError) as raised:
        flambeau.load(source)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size=0: must be at least 1"),
        ({"batch_size": -3}, "batch_size=-3: must be at least 1"),
        ({"batch_size": 2.0}, "batch_size=2.0: must be a whole number"),
        ({"batch_size": "8"}, "batch_size=8: must be a whole number"),
        ({"batch_size": True}, "batch_size=True: must be a whole number"),
        ({"queue_size": 0}, "queue_size=0: must be at least 1"),
        ({"queue_size": "9"}, "queue_size=9: must be a whole number"),
        ({"threads": 0}, "threads=0: must be at least 1"),
        ({"threads": "1"}, "threads=1: must be a whole number"),
        ({"workers": 0}, "workers=0: must be at least 1"),
        ({"workers": 1.5}, "workers=1.5: must be a whole number"),
        ({"workers": "threads"}, 'workers=threads: must be a number, or "process"'),
        ({"processes": 0}, "processes=0: must be at least 1"),
        ({"processes": "2"}, "processes=2: must be a whole number"),
        (
            {"workers": 2, "processes": 2},
            "processes=2: workers of this process are wanted too; give one of both",
        ),
        ({"max_batch_delay_ms": -1}, "max_batch_delay_ms=-1: must be a number of milliseconds, 0 or more"),
        ({"max_batch_delay_ms": float("nan")}, "max_batch_delay_ms=nan: must be a number of milliseconds, 0 or more"),
        ({"max_batch_delay_ms": "5"}, "max_batch_delay_ms=5: must be a number of milliseconds, 0 or more"),
        ({"batch_policy": "greedy"}, "batch_policy=greedy: must be adaptive or fixed"),
        ({"device": "tpu"}, "device=tpu: must be cpu, cuda or cuda:N"),
        ({"device": "cuda:x"}, "device=cuda:x: must be cpu, cuda or cuda:N"),
        ({"device": 0}, "device=0: must be cpu, cuda or cuda:N"),
        ({"size_of": 5}, "size_of=5: must be a function of a row"),
        ({"response_timeout_s": 0}, "response_timeout_s=0: must be a number of seconds, more than 0"),
        ({"response_timeout_s": "1"}, "response_timeout_s=1: must be a number of seconds, more than 0"),
        ({"isolate_failures": "no"}, "isolate_failures=no: must be True or False"),
    ],
)
def test_settings_that_cannot_be_used_are_named(settings, message):
    with pytest.raises(ConfigError) as raised:
        flambeau.load(double, **settings)
    assert str(raised.value) == message


def test_a_loaded_model_is_itself_a_source_and_takes_no_other_settings():
    with flambeau.load(double) as model:
        assert flambeau.load(model) is model
        with pytest.raises(ConfigError, match="settings of its own"):
            flambeau.load(model, batch_size=4)
