"""A model of our own that needs no weights keeps to the contract.

The others: ``test_generated_contracts.py`` and ``reference/test_reference_contracts.py``.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from paintmq.testing import ModelContract


class TestOpenCv(ModelContract):
    plugin = "paintmq_plugins.opencv"

    def check_result(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        inside = inputs["mask"] > 0
        assert not np.array_equal(outputs["image"][inside], inputs["image"][inside])
