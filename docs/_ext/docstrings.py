"""Docstrings are Markdown, as in Keras; autodoc takes reStructuredText."""

import re

KERAS = "https://keras.io/api"
KERAS_PAGES = {
    "keras.Model": f"{KERAS}/models/model/",
    "keras.Sequential": f"{KERAS}/models/sequential/",
    "keras.Model.train_on_batch": f"{KERAS}/models/model_training_apis/",
    "keras.Model.fit": f"{KERAS}/models/model_training_apis/",
    "keras.Model.load_weights": (
        f"{KERAS}/models/model_saving_apis/weights_saving_and_loading/"
    ),
    "keras.callbacks.History": f"{KERAS}/models/model_training_apis/",
    "keras.ops": f"{KERAS}/ops/",
    "keras.optimizers.schedules.LearningRateSchedule": (
        f"{KERAS}/optimizers/learning_rate_schedules/learning_rate_schedule/"
    ),
    "keras.utils.PyDataset": "https://keras.io/api/data_loading/",
    "keras.saving.register_keras_serializable": (
        f"{KERAS}/models/model_saving_apis/serialization_utils/"
    ),
}

LINK = re.compile(r"\[([^\[\]]+)\]\((https?://[^)\s]+)\)")
CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
ROW = re.compile(r"\s*\|.*\|\s*$")


def converted(lines):
    """Return the lines of a docstring in reStructuredText."""
    result, text, lines = [], [], [*lines]
    while lines:
        line = lines[0]
        if line.lstrip().startswith("```"):
            block = _fenced(lines)
        elif line.lstrip().startswith(">>>"):
            block = _doctest(lines)
        elif ROW.match(line) and len(lines) > 1 and "---" in lines[1]:
            block = _table(lines)
        elif line.strip() == "Example:" and not lines[1].startswith(" "):
            lines.pop(0)
            block = ["", "**Example**", ""]
        else:
            text.append(lines.pop(0))
            continue
        result += [*_prose(text), *block]
        text = []
    return result + _prose(text)


def _fenced(lines):
    """Return a block of code, and take it from the lines."""
    first = lines.pop(0)
    indent = first[: len(first) - len(first.lstrip())]
    block = ["", f"{indent}.. code-block:: {first.strip()[3:] or 'text'}", ""]
    while not lines[0].lstrip().startswith("```"):
        block.append(f"    {lines.pop(0)}")
    lines.pop(0)
    return [*block, ""]


def _doctest(lines):
    """Return an example as it is, and take it from the lines."""
    block = []
    while lines and lines[0].strip():
        block.append(lines.pop(0))
    return block


def _table(lines):
    """Return a table, and take it from the lines."""
    rows = []
    while lines and ROW.match(lines[0]):
        rows.append([c.strip() for c in lines.pop(0).strip(" |").split(" | ")])
    header, _, *body = rows
    block = ["", ".. list-table::", "   :header-rows: 1", ""]
    for row in [header, *body]:
        for i, cell in enumerate(row):
            lead = "   * -" if i == 0 else "     -"
            block.append(f"{lead} {_inline(cell)}".rstrip())
    return [*block, ""]


def _prose(lines):
    """Return text with links and code in reStructuredText."""
    return _inline("\n".join(lines)).split("\n") if lines else []


def _inline(text):
    # Code first is set aside, so that no link is looked for inside it.
    codes = []

    def aside(match):
        codes.append(_code(match[1]))
        return f"\0{len(codes) - 1}\0"

    text = CODE.sub(aside, text).replace("|", r"\|")
    text = LINK.sub(r"`\1 <\2>`__", text)
    # A letter that follows at once, as in the plural of a name, is set apart.
    text = re.sub("\0(?=\\w)(?!\\d)", "\0\\\\ ", text)
    return re.sub("\0(\\d+)\0", lambda match: codes[int(match[1])], text)


def _code(code):
    """Return code, as a link if it is a name that has a page."""
    if code in KERAS_PAGES:
        return f"`{code} <{KERAS_PAGES[code]}>`__"
    if re.fullmatch(r"keras_sam(\.\w+)+", code):
        return f":py:obj:`{code}`"
    return f"``{code}``"


def _process(app, what, name, obj, options, lines):
    del app, what, name, obj, options
    lines[:] = converted(lines)


def setup(app):
    """Convert before napoleon does."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", _process, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
