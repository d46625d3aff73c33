"""Words by which libraries say that memory is used up, and words that only look like them."""

import pytest

from trainer.experiment.judge import Ending, judge
from trainer.experiment.memory_words import out_of_memory
from trainer.experiment.outcome import Outcome

DEVICE = [
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB",
    "HIP out of memory. Tried to allocate 2.00 GiB",
    "MPS backend out of memory (MPS allocated: 17.00 GB)",
    "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "CUDA error: CUSPARSE_STATUS_ALLOC_FAILED when calling `cusparseCreate(handle)`",
    "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "cuFFT error: CUFFT_ALLOC_FAILED",
    "NCCL error: unhandled cuda error; Cuda failure 2 'out of memory'",
    "ncclUnhandledCudaError: Call to CUDA function failed.\nLast error:\nCuda failure 'out of memory'",
    "driver error: CUDA_ERROR_OUT_OF_MEMORY",
    "cudaErrorMemoryAllocation",
    "HIP error: hipErrorOutOfMemory",
]
HOST = [
    "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: of 8 bytes",
    "DefaultCPUAllocator: not enough memory: you tried to allocate 4000 bytes.",
    "[enforce fail at CPUAllocator.cpp:64] . DefaultCPUAllocator: can't allocate memory",
    "std::bad_alloc",
    "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc",
    "std::bad_array_new_length",
    "unable to mmap 4096 bytes from file </x>: Cannot allocate memory (12)",
    "fork: Cannot allocate memory",
    "MemoryError: Unable to allocate 7.28 TiB for an array with shape (1000000000000,) and data type float64",
    "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 7.28 TiB for an array",
    "java.lang.OutOfMemoryError: Java heap space",
    "unable to write to file </torch_42_1>: No space left on device (28)",
    "DataLoader worker (pid 42) is killed by signal: Bus error. Perhaps its workers are out of shared memory.",
    "DataLoader worker (pid(s) 42) is killed by signal: Killed.",
]
OTHERS = [
    "",
    "epoch 3: out of memory of its youth, the network forgets",
    "mat1 and mat2 shapes cannot be multiplied",
    "No space left on device",
    "CUDA error: device-side assert triggered",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED",
    "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED",
    "Resource temporarily unavailable",
    "loaded the module memory_error_handling",
    "bad_allocation of budget",
    "allocate 3 GiB for an array failed",
    "DataLoader worker (pid 42) exited unexpectedly",
]


@pytest.mark.parametrize("text", DEVICE)
def test_a_device_without_memory_is_told(text: str) -> None:
    assert out_of_memory(text) is Outcome.DEVICE_OOM


@pytest.mark.parametrize("text", HOST)
def test_a_machine_without_memory_is_told(text: str) -> None:
    assert out_of_memory(text) is Outcome.HOST_OOM


@pytest.mark.parametrize("text", OTHERS)
def test_other_words_say_nothing_of_memory(text: str) -> None:
    assert out_of_memory(text) is None


@pytest.mark.parametrize(("text", "outcome"), [(HOST[4], Outcome.HOST_OOM), (DEVICE[3], Outcome.DEVICE_OOM)])
@pytest.mark.parametrize("code", [-6, 134, 1])
def test_a_rank_that_died_without_a_report_is_judged_by_its_last_words(
    text: str, outcome: Outcome, code: int
) -> None:
    verdict = judge([Ending(0, code, error=f"Error: {text}")], "validMse")
    assert (verdict.outcome, verdict.error) == (outcome, f"Error: {text}")
