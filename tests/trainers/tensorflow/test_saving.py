"""Exported models."""

import numpy as np
import pytest
import tensorflow as tf

from tests.test_saving import KINDS
from tests.test_saving import X
from tests.test_saving import built


@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_model_predicts_the_same(kind, tmp_path):
    model = built(KINDS[kind], {"method": "friendly_sam"})
    model.export(tmp_path / "saved_model", verbose=False)
    exported = tf.saved_model.load(tmp_path / "saved_model")
    # A few units in the last place of float32: two compilations of one model.
    np.testing.assert_allclose(
        exported.serve(tf.constant(X)), model.predict(X, verbose=0), rtol=1e-6
    )
