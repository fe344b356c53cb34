"""Fingerprints of tables by their content: the same for the same rows, however files lay them out."""

import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["ContentDigest", "content_sha256"]

# Where files lie is no content: their own sha256 is.
_PLACES = ("path",)


class _Column:
    """Digests of a column: of its values, and of which are there (for text: how long they are)."""

    def __init__(self):
        self._present, self._values = hashlib.sha256(), hashlib.sha256()

    def update(self, array: pa.Array) -> None:
        kind = array.type
        if pa.types.is_temporal(kind):
            array = array.cast(pa.int64())
        if pa.types.is_integer(array.type) or pa.types.is_floating(array.type) or pa.types.is_boolean(kind):
            self._present.update(array.is_valid().cast(pa.uint8()).to_numpy(zero_copy_only=False))
            filled = array.fill_null(False if pa.types.is_boolean(kind) else 0)
            self._values.update(np.ascontiguousarray(filled.to_numpy(zero_copy_only=False)))
            return
        text = array.cast(pa.large_string())
        self._present.update(pc.binary_length(text).cast(pa.int32()).fill_null(-1).to_numpy())
        if text.null_count < len(text):
            filled = text.fill_null("")
            _, offsets, content = filled.buffers()
            ends = np.frombuffer(offsets, np.int64)[filled.offset : filled.offset + len(filled) + 1]
            self._values.update(memoryview(content)[ends[0] : ends[-1]])

    def hexdigest(self) -> str:
        return hashlib.sha256(self._present.digest() + self._values.digest()).hexdigest()


class ContentDigest:
    """The sha256 of a table that arrives in pieces, of any size.

    Parameters
    ----------
    schema : pyarrow.Schema
        Names and types are content, and so is the order of rows. Where files lie (column path) is not.
    """

    def __init__(self, schema: pa.Schema):
        self._kinds = [(field.name, str(field.type)) for field in schema if field.name not in _PLACES]
        self._columns = {name: _Column() for name, _ in self._kinds}

    def update(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        for name, column in self._columns.items():
            column.update(batch.column(name))

    def hexdigest(self) -> str:
        """Return the sha256 of all rows so far."""
        digests = [column.hexdigest() for column in self._columns.values()]
        return hashlib.sha256(json.dumps([self._kinds, digests]).encode()).hexdigest()


def content_sha256(table: pa.Table) -> str:
    """Return the sha256 of a table's content; see `ContentDigest`."""
    digest = ContentDigest(table.schema)
    for batch in table.to_batches():
        digest.update(batch)
    return digest.hexdigest()
