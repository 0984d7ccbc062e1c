"""``python -m flambeau.migrate.attempt RESULT``: loads one handler and writes down what came of it.

The order comes as JSON on standard input: the arguments of ``load_handler``. It is a process of its own, because a
handler may end it, hang, or use up the memory.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from time import perf_counter

from flambeau.errors import FlambeauError
from flambeau.runtime import load_handler


def main() -> None:
    order = json.load(sys.stdin)
    folder = Path(order["model_dir"])
    started_at = perf_counter()
    result: dict[str, object] = {}
    try:
        load_handler(**order)
    except Exception as error:  # the border to the model's code, which may raise anything
        named = isinstance(error, FlambeauError)
        result["problem"] = str(error) if named else traceback.format_exception_only(type(error), error)[-1].strip()
        result["place"] = _place(error, folder)
        module = error if isinstance(error, ModuleNotFoundError) else error.__cause__
        result["missing_module"] = (module.name or "") if isinstance(module, ModuleNotFoundError) else ""
    Path(sys.argv[1]).write_text(json.dumps({"loaded": not result, "seconds": perf_counter() - started_at, **result}))


def _place(error: Exception, folder: Path) -> str:
    """The last line of the model's own code that the error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(folder)]
    return f"{Path(own[-1].filename).relative_to(folder)}:{own[-1].lineno}" if own else ""


if __name__ == "__main__":
    main()
