"""The most memory that tensors took at once while some code ran.

Counts what torch allocates in this thread, plus the workspace that LAPACK documents for the decompositions used here.
Memory held before counts nothing, whoever frees it.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class MemoryMeter(TorchDispatchMode):
    """A context manager; ``peak`` is the largest number of bytes held at once within it, ``held`` what is held now."""

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
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage not in self._known:
                    self._add(storage, args, kwargs)
        workspace = _WORKSPACE.get(func.overloadpacket.__name__)
        if workspace is not None:
            self.note(8 * workspace * min(args[0].shape[-2:]) ** 2)
        return result

    def _add(self, storage: Any, args: Any, kwargs: Any) -> None:
        self._known.add(storage)
        # A view of an argument, or the argument itself, was there before.
        if any(isinstance(a, torch.Tensor) and a.untyped_storage() is storage for a in tree_leaves((args, kwargs))):
            return
        size = storage.nbytes()
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._release, size)

    def _release(self, size: int) -> None:
        self.held -= size


# In matrices of the smaller dimension: syevd, gesdd, as their documentation asks.
_WORKSPACE = {"_linalg_eigh": 2, "_linalg_svd": 4}
