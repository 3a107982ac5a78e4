"""NVIDIA's GPUs as their driver knows them: no framework is needed to ask."""

from __future__ import annotations

import ctypes
import sys

# <cuda.h>
_SUCCESS = 0
_CAPABILITY = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR


def compute_capabilities() -> list[tuple[int, int]]:
    """Of each GPU, in CUDA's order: (9, 0) for an H100, say. Empty where there is no driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return []
    count = ctypes.c_int()
    if driver.cuInit(0) != _SUCCESS or driver.cuDeviceGetCount(ctypes.byref(count)) != _SUCCESS:
        return []
    found = []
    for index in range(count.value):
        number, values = ctypes.c_int(), (ctypes.c_int(), ctypes.c_int())
        driver.cuDeviceGet(ctypes.byref(number), index)
        for value, attribute in zip(values, _CAPABILITY, strict=True):
            driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, number)
        found.append((values[0].value, values[1].value))
    return found
