"""The words by which libraries say that memory is used up, where they raise nothing more telling. Pure."""

import re

from trainer.experiment.outcome import Outcome

_WORDS: tuple[tuple[Outcome, str], ...] = (
    # torch's caching allocator, and CUDA's and HIP's runtime: cudaErrorMemoryAllocation, hipErrorOutOfMemory.
    (Outcome.DEVICE_OOM, r"(CUDA|HIP|MPS backend|XPU) out of memory"),
    (Outcome.DEVICE_OOM, r"(CUDA|HIP) error: out of memory"),
    (Outcome.DEVICE_OOM, r"(Cuda|HIP) failure \d* ?'?out of memory'?"),  # NCCL and RCCL
    (Outcome.DEVICE_OOM, r"\bcudaErrorMemoryAllocation\b|\bhipErrorOutOfMemory\b|\bCUDA_ERROR_OUT_OF_MEMORY\b"),
    # Each library's status: cuBLAS, cuDNN, cuSPARSE, cuSOLVER, cuFFT, and those of ROCm.
    (
        Outcome.DEVICE_OOM,
        r"\b(CUBLAS|CUDNN|CUSPARSE|CUSOLVER|HIPBLAS|MIOPEN)_STATUS_ALLOC_FAILED\b|\bCUFFT_ALLOC_FAILED\b",
    ),
    (Outcome.DEVICE_OOM, r"\bCUDNN_STATUS_INTERNAL_ERROR_(DEVICE|HOST)_ALLOCATION_FAILED\b"),
    (Outcome.DEVICE_OOM, r"\b(rocblas_status_memory_error|miopenStatusAllocFailed)\b"),
    # torch's allocator of the CPU, in its spellings: c10/core/impl/alloc_cpu.cpp.
    (Outcome.HOST_OOM, r"DefaultCPUAllocator: (can't allocate memory|not enough memory)"),
    (Outcome.HOST_OOM, r"enforce fail at (alloc_cpu|CPUAllocator)\.cpp"),
    # The C++ runtime, what() and at the end of a process that nothing caught it in.
    (Outcome.HOST_OOM, r"\bstd::bad_(array_new_length|alloc)\b"),
    # strerror(ENOMEM), as mmap, fork and many libraries pass it on.
    (Outcome.HOST_OOM, r"\bCannot allocate memory\b"),
    (
        Outcome.HOST_OOM,
        r"^MemoryError\b|numpy\S*\._ArrayMemoryError|\bUnable to allocate \S+ [KMGT]iB for an array\b",
    ),
    (Outcome.HOST_OOM, r"\bjava\.lang\.OutOfMemoryError\b"),
    # A worker of torch's DataLoader that the kernel killed, or that found no room in shared memory.
    (Outcome.HOST_OOM, r"unable to (write to file|open shared memory object) </torch_\S*>.*No space left on device"),
    (Outcome.HOST_OOM, r"DataLoader worker .* is killed by signal: (Bus error|Killed)"),
)
_COMPILED = tuple((outcome, re.compile(words, re.MULTILINE)) for outcome, words in _WORDS)


def out_of_memory(text: str) -> Outcome | None:
    """The outcome that an error's text stands for, None where it says nothing of memory."""
    return next((outcome for outcome, words in _COMPILED if words.search(text)), None)
