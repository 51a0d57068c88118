"""The most memory that tensors took at once while some code ran.

Counts what torch allocates in this thread, plus the workspace that LAPACK documents for the decompositions used here.
Memory that was held before counts nothing. Costs some ten microseconds for each operation of torch.
"""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class MemoryMeter(TorchDispatchMode):
    """A context manager; ``peak`` is the largest number of bytes held at once within it, ``held`` what is held now."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Else the first operation imports torch's compiler, which takes seconds.
        return False

    def __init__(self) -> None:
        super().__init__()
        self.held = 0
        self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def note(self, size: int) -> None:
        """Count ``size`` bytes that are held for a moment outside of torch."""
        self.peak = max(self.peak, self.held + size)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if type(result) in (tuple, list) else (result,):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage not in self._known:
                    self._known.add(storage)
                    if not _holds(args, storage) and not (kwargs and _holds(kwargs.values(), storage)):
                        self._add(storage)
        workspace = _WORKSPACE.get(func.overloadpacket.__name__)
        if workspace is not None:
            self.note(8 * workspace * min(args[0].shape[-2:]) ** 2)
        return result

    def _add(self, storage: Any) -> None:
        size = storage.nbytes()
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._release, size).atexit = False

    def _release(self, size: int) -> None:
        self.held -= size


def _holds(arguments: Any, storage: Any) -> bool:
    """Whether an operation got ``storage``, so that what it returned in it is a view of what was there before."""
    return any(isinstance(a, Tensor) and a.untyped_storage() is storage for a in arguments)


# In matrices of the smaller dimension: syevd, gesdd, as their documentation asks.
_WORKSPACE = {"_linalg_eigh": 2, "_linalg_svd": 4}
