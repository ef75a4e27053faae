"""Which of Keras' tests are run, in groups with a run of pytest each."""

from pathlib import Path

import keras

ROOT = Path(keras.__file__).parents[1]
"""The folder that `keras` is in; `node` ids begin there."""

_SOURCES = "keras/src"

_PATTERNS = {
    "trainers": ["trainers/trainer_test.py"],
    "models": [
        f"models/{name}_test.py"
        for name in ("model", "functional", "cloning", "sequential")
    ],
    "callbacks": ["callbacks/*_test.py"],
    "saving": ["saving/saving_lib_test.py", "saving/saving_api_test.py"],
    "legacy": ["legacy/saving/*_test.py"],
    "distillation": ["distillation/*_test.py"],
    "optimizers": ["optimizers/*_test.py"],
    "layers": ["layers/*_test.py"],
}
_BACKEND = {
    # Each starts its own logical devices.
    "tensorflow": {
        "distribute": ["backend/tensorflow/distribute_test.py"],
        "optimizer_distribute": [
            "backend/tensorflow/optimizer_distribute_test.py"
        ],
    },
    "jax": {
        "jax": [
            "backend/jax/trainer_test.py",
            "backend/jax/distribution_lib_test.py",
        ]
    },
}
_PATTERNS |= _BACKEND.get(keras.backend.backend(), {})
_PATTERNS |= {
    f"layers/{folder.name}": [f"layers/{folder.name}/**/*_test.py"]
    for folder in sorted((ROOT / _SOURCES / "layers").iterdir())
    if any(folder.rglob("*_test.py"))
}

GROUPS = {
    name: [
        path.relative_to(ROOT).as_posix()
        for pattern in patterns
        for path in sorted((ROOT / _SOURCES).glob(pattern))
    ]
    for name, patterns in _PATTERNS.items()
}
"""Paths below `ROOT` by the name of a group."""
