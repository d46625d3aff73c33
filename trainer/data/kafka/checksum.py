"""A number that says what samples were read, whatever their order, format and distribution over ranks."""

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Sums stay below 2^53, so that a record, whose figures are floats, holds them exactly.
MODULUS = 2**48
# Spreads 32 bits over 48, so that sums of few samples differ in all of them: odd, by the golden ratio.
_SPREAD = 0x9E3779B97F4B


def checksum(x: NDArray[np.float32], y: NDArray[Any]) -> int:
    """The sum over samples, modulo 2^48, of the CRC-32 of a sample's numbers and label, spread.

    x [k, width] and y [k]. Sums of parts add up to that of the whole, modulo `MODULUS`.
    """
    crc = zlib.crc32
    rows = np.ascontiguousarray(x, "<f4").data.cast("B")
    labels = np.ascontiguousarray(y, "<f4" if y.dtype.kind == "f" else "<i8")
    texts = labels.tobytes()
    width, size = 4 * x.shape[1], labels.itemsize
    total = 0
    for i in range(len(labels)):
        total += crc(texts[i * size : (i + 1) * size], crc(rows[i * width : (i + 1) * width]))
    return total * _SPREAD % MODULUS
