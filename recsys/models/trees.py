"""Trees of LightGBM, read by its own library without its Python package.

The package brings scikit-learn and pandas where they are installed, 128 MB in a server; the library is 2 MB.
"""

from __future__ import annotations

import ctypes
import weakref
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ConfigError
from recsys.models.batch import FloatArray

_FLOAT64, _RAW_SCORE, _ALL = 1, 1, -1
_ONE_THREAD = b"num_threads=1 verbosity=-1"


class Trees:
    """A fitted ensemble: rows of features in, sums of leaves out.

    Args:
        text: LightGBM's text model.
        n_features: Numbers in a row.

    Raises:
        ValueError: The text is no model of so many features.
        ConfigError: The library is not installed, or cannot be loaded.
    """

    def __init__(self, text: str, n_features: int) -> None:
        self.text = text
        self._n_features = n_features
        self._library = _library()
        handle, n_iterations, n_found = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int()
        try:
            content = text.encode("ascii")
        except UnicodeEncodeError as error:
            raise ValueError(f"the trees are no LightGBM text: {error}") from None
        self._check(
            self._library.LGBM_BoosterLoadModelFromString(
                content, ctypes.byref(n_iterations), ctypes.byref(handle)
            )
        )
        self._handle = handle
        weakref.finalize(self, self._library.LGBM_BoosterFree, handle)
        self._check(self._library.LGBM_BoosterGetNumFeature(handle, ctypes.byref(n_found)))
        if n_found.value != n_features:
            raise ValueError(f"the trees read {n_found.value} features, must be {n_features}")

    def predict(self, rows: NDArray[np.floating]) -> FloatArray:
        """Sums of leaves, on the scale of log-odds.

        Args:
            rows: Shape (n_rows, n_features); NaN = unknown.

        Returns:
            Shape (n_rows,).
        """
        if rows.ndim != 2 or rows.shape[1] != self._n_features:
            raise ValueError(f"rows have shape {rows.shape}, must have {self._n_features} columns")
        is_row_major = not rows.flags.f_contiguous
        exact = np.asarray(rows, dtype=np.float64, order="C" if is_row_major else "F")
        sums = np.zeros(len(rows))
        if len(rows) == 0:
            return sums
        n_written = ctypes.c_int64()
        self._check(
            self._library.LGBM_BoosterPredictForMat(
                self._handle,
                exact.ctypes.data,
                _FLOAT64,
                *rows.shape,
                is_row_major,
                _RAW_SCORE,
                0,
                _ALL,
                _ONE_THREAD,
                ctypes.byref(n_written),
                sums.ctypes.data,
            )
        )
        return sums

    def _check(self, code: int) -> None:
        if code != 0:
            raise ValueError(f"LightGBM: {self._library.LGBM_GetLastError().decode(errors='replace')}")


@cache
def _library() -> ctypes.CDLL:
    found = find_spec("lightgbm")
    folders = [] if found is None else found.submodule_search_locations or []
    paths = [path for folder in folders for path in sorted(Path(folder).rglob("lib_lightgbm.*"))]
    if not paths:
        raise ConfigError(
            "the bundle has trees, but LightGBM is not installed: pip install 'offer-recsys[serving]'"
        )
    try:
        library = ctypes.CDLL(str(paths[0]))
    except OSError as error:
        raise ConfigError(
            f"LightGBM cannot be loaded ({error}): it needs libgomp, the package libgomp1"
        ) from None
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    number, address = ctypes.c_int, ctypes.c_void_p
    library.LGBM_BoosterPredictForMat.argtypes = [
        *(address, address, number, ctypes.c_int32, ctypes.c_int32, number, number, number, number),
        *(ctypes.c_char_p, address, address),
    ]
    return library
