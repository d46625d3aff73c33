"""The words by which libraries say that memory is used up, where they raise nothing more telling. Pure.

Nothing here takes "Resource temporarily unavailable" for memory: it is what a limit on processes or threads says
(EAGAIN of fork and pthread_create), and fewer samples would not help.
"""

import re
from typing import NamedTuple

from trainer.experiment.outcome import Outcome


class _Words(NamedTuple):
    """A pattern, what it stands for, and who says so."""

    outcome: Outcome
    pattern: str
    source: str


_NO_SPACE = r"No space left on device"
# Words of a device come first: its libraries quote the host's as well.
WORDS = (
    _Words(Outcome.DEVICE_OOM, r"\b(CUDA|HIP|XPU|MPS backend) out of memory\b", "torch's caching allocators"),
    _Words(
        Outcome.DEVICE_OOM,
        r"\b(CUDA|HIP)( driver)? error: out of memory\b|\bTriton Error \[(CUDA|HIP)\]: out of memory\b",
        "CUDA's and HIP's runtime and driver, as torch (c10/cuda/CUDAException.cpp) and Triton quote them",
    ),
    _Words(
        Outcome.DEVICE_OOM,
        r"\bcuda runtime error \(2\) : out of memory\b",
        "torch before 1.5",
    ),
    _Words(
        Outcome.DEVICE_OOM,
        r"\b(Cuda|HIP|hip) failure (\d+ )?'out of memory'",
        "NCCL and RCCL (CUDACHECK in src/include/checks.h)",
    ),
    _Words(
        Outcome.DEVICE_OOM,
        r"\b(cudaErrorMemoryAllocation|CUDA_ERROR_OUT_OF_MEMORY|hipErrorOutOfMemory|hipErrorMemoryAllocation)\b",
        "the names of CUDA's and HIP's error codes",
    ),
    _Words(
        Outcome.DEVICE_OOM,
        r"\b(CUBLAS|CUDNN|CUSPARSE|CUSOLVER|HIPBLAS|HIPSPARSE|HIPSOLVER)_STATUS_ALLOC_FAILED\b",
        "cublasStatus_t, cudnnStatus_t, cusparseStatus_t, cusolverStatus_t, and HIP's",
    ),
    _Words(
        Outcome.DEVICE_OOM,
        r"\b(CUFFT|HIPFFT)_ALLOC_FAILED\b|\b(CURAND|HIPRAND)_STATUS_ALLOCATION_FAILED\b",
        "cufftResult, hipfftResult, curandStatus_t, hiprandStatus_t",
    ),
    _Words(
        Outcome.DEVICE_OOM, r"\bCUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED\b", "cudnnStatus_t since cuDNN 9"
    ),
    _Words(
        Outcome.DEVICE_OOM,
        r"\b(rocblas_status_memory_error|miopenStatusAllocFailed|MAGMA_ERR_DEVICE_ALLOC)\b",
        "rocBLAS, MIOpen, MAGMA",
    ),
    _Words(
        Outcome.HOST_OOM, r"\bCUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED\b", "cudnnStatus_t since cuDNN 9"
    ),
    _Words(Outcome.HOST_OOM, r"\bMAGMA_ERR_HOST_ALLOC\b", "MAGMA"),
    _Words(
        Outcome.HOST_OOM,
        r"\bDefaultCPUAllocator: (can't allocate memory|not enough memory)",
        "torch's allocator of the CPU, on POSIX and on Windows (c10/core/impl/alloc_cpu.cpp)",
    ),
    _Words(
        Outcome.HOST_OOM,
        r"\benforce fail at (alloc_cpu|CPUAllocator)\.cpp:\d+\](?!.*negative number)",
        "the same; it refuses negative sizes in the same words",
    ),
    _Words(
        Outcome.HOST_OOM,
        r"\bstd::bad_(alloc|array_new_length)\b",
        "the C++ runtime: what(), or at the end of a process where nothing caught it",
    ),
    _Words(
        Outcome.HOST_OOM,
        r"\bCannot allocate memory(?= ?[()\[\]\"'.,;:]|\s*$)",
        "strerror(ENOMEM), as mmap, fork, clone and dlopen pass it on",
    ),
    _Words(
        Outcome.HOST_OOM,
        r"(?<![\w.])MemoryError(?=:|\s*$)|\b(_ArrayMemoryError|ArrowMemoryError)\b",
        "the names of the exceptions of Python, NumPy and Arrow, at the end of a log",
    ),
    _Words(
        Outcome.HOST_OOM,
        r"\bUnable to allocate \d\S* ([KMGTPE]i)?B(ytes)? for an array with shape\b",
        "NumPy (numpy/_core/_exceptions.py)",
    ),
    _Words(Outcome.HOST_OOM, r"\bjava\.lang\.OutOfMemoryError\b", "a JVM, as Spark's"),
    _Words(
        Outcome.HOST_OOM,
        rf"\bunable to [^<]*<[^>]*torch_[^>]*>[^<]*{_NO_SPACE}",
        "torch, where shared memory (/dev/shm) is full (ATen/MapAllocator.cpp)",
    ),
    _Words(
        Outcome.HOST_OOM,
        rf"/dev/shm/[^\n]*{_NO_SPACE}|{_NO_SPACE}[^\n]*/dev/shm/",  # noqa: S108 - nothing is written there
        "NCCL (src/misc/shmutils.cc), and Python's OSError with the file's name",
    ),
    _Words(
        Outcome.HOST_OOM,
        r"\bDataLoader worker \(pid(\(s\))? [\d, ]+\) is killed by signal: (Bus error|Killed)",
        "torch, of a worker that the kernel ended or that found shared memory full (torch/csrc/DataLoader.cpp)",
    ),
)
_COMPILED = tuple((words.outcome, re.compile(words.pattern, re.MULTILINE)) for words in WORDS)


def out_of_memory(text: str) -> Outcome | None:
    """The outcome that an error's text stands for, None where it says nothing of memory."""
    return next((outcome for outcome, pattern in _COMPILED if pattern.search(text)), None)
