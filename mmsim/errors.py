"""What mmsim says when it cannot go on: one exception for bad input, told by file and field."""

from __future__ import annotations


class InputError(ValueError):
    """Input from outside that mmsim refuses; the message is one line naming file and field.

    >>> str(InputError("must be positive", file="gpu.yaml", field="levels.1.size_bytes"))
    'gpu.yaml: levels.1.size_bytes: must be positive'
    """

    def __init__(self, message: str, *, file: str | None = None, field: str | None = None) -> None:
        self.message, self.file, self.field = message, file, field
        super().__init__(": ".join(part for part in (file, field, message) if part))
