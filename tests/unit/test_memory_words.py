"""Words by which libraries say that memory is used up, and words that only look like them."""

import pytest

from trainer.experiment.judge import RankExit, judge
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
    "CUDA driver error: out of memory",
    "HIP error: out of memory",
    "XPU out of memory. Tried to allocate 2.00 GiB",
    "cuda runtime error (2) : out of memory at THCStorage.cu:58",
    "Triton Error [CUDA]: out of memory",
    "Last error:\nHIP failure 'out of memory'",
    "ncclUnhandledCudaError: Call to CUDA function failed.\nLast error:\nCuda failure 2 'out of memory'",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasLtMatmul(...)`",
    "HIPBLAS_STATUS_ALLOC_FAILED",
    "CURAND_STATUS_ALLOCATION_FAILED",
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB",
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
    "DataLoader worker (pid 42) is killed by signal: Killed. ",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "unable to open shared memory object </torch_42_1> in read-write mode: No space left on device (28)",
    "unable to resize file </torch_42_1> to the right size: No space left on device (28)",
    "unable to allocate shared memory(shm) for file </torch_42_1>: No space left on device (28)",
    "unable to mmap 4096 bytes from file </torch_42_1>: Cannot allocate memory (12)",
    "OSError: [Errno 12] Cannot allocate memory: 'ps'",
    "libgomp: Thread creation failed: Cannot allocate memory",
    "OpenBLAS blas_thread_init: pthread_create failed for thread 1 of 64: Cannot allocate memory",
    "libtorch_cuda.so: failed to map segment from shared object: Cannot allocate memory",
    "NCCL WARN Error: failed to extend /dev/shm/nccl-WU88OE to 9637892 bytes, error: No space left on device (28)",
    "OSError: [Errno 28] No space left on device: '/dev/shm/psm_1'",
    "Traceback\nMemoryError",
    "pyarrow.lib.ArrowMemoryError: malloc of size 64 failed",
    "was killed by signal 6 without a report; its log ends: MemoryError",
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
    "DataLoader worker (pid 42) is killed by signal: Segmentation fault.",
    "OpenBLAS blas_thread_init: pthread_create failed for thread 1 of 64: Resource temporarily unavailable",
    "libgomp: Thread creation failed: Resource temporarily unavailable",
    "can't start new thread",
    "[enforce fail at alloc_cpu.cpp:80] . alloc_cpu() seems to have been called with negative number: -8",
    "[enforce fail at inline_container.cc:595] . unexpected pos",
    "Cannot allocate memory budget of 3 to both",
    "cannot allocate memory in static TLS block",
    "unable to write to file </data/x>: No space left on device (28)",
    "OSError: [Errno 28] No space left on device: '/tmp/psm_1'",
    "we are out of memory",
    "HostOutOfMemoryErrorHandler failed",
    "no MemoryError was seen",
    "CUDA error: an illegal memory access was encountered",
    "NCCL error: unhandled cuda error; Cuda failure 'invalid argument'",
    "CUSOLVER_STATUS_EXECUTION_FAILED",
    "CUFFT_INTERNAL_ERROR",
    "Bus error",
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
    verdict = judge([RankExit(0, code, error=f"Error: {text}")], "validMse")
    assert (verdict.outcome, verdict.error) == (outcome, f"Error: {text}")
