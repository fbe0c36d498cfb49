"""The network that was built last, kept for all the modes it is measured in; memory given back before the next."""

from __future__ import annotations

import gc

import torch

from mmsim.errors import InputError
from mmsim.measure.kernels import profile
from mmsim.measure.rule import reason
from mmsim.measure.subject import Subject, subject_of
from mmsim.measurement import Source


class Built:
    """Holds one `Subject` at a time."""

    def __init__(self) -> None:
        self._key: tuple[str, int, str, torch.device] | None = None
        self._subject: Subject | None = None

    def subject(self, source: Source, batch: int, dtype: str, device: torch.device) -> Subject:
        """The network of `source`: the one at hand, or built anew. Raises `InputError` as `subject_of` does."""
        key = (str(source), batch, dtype, device)
        if self._subject is None or key != self._key:
            self._subject = None
            profile.cache_clear()
            release()
            self._subject, self._key = subject_of(source, batch=batch, dtype=dtype, device=device), key
        return self._subject


def release() -> None:
    """Give back what nothing holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.empty_cache()


def recovered(failed: str) -> None:
    """Give back memory after a failure. Raises `InputError` when the GPU no longer answers: all would fail alike."""
    try:
        release()
    except RuntimeError as error:
        raise InputError(f"the GPU fails since {failed}: {reason(error)}; the same command goes on after it") from None
