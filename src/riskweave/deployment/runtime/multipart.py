"""Forms with files, multipart/form-data (RFC 7578): the strict part of it that browsers and curl write."""

import re
from email.message import Message
from typing import NamedTuple

__all__ = ["FormError", "Part", "parse_form"]

MOST_PARTS = 32
MOST_HEADERS = 8192


class FormError(ValueError):
    """The body is no multipart/form-data."""


class Part(NamedTuple):
    """A field of a form; `filename` is None where it is no file, and never holds a folder."""

    name: str
    filename: str | None
    data: bytes


def parse_form(body: bytes, content_type: str) -> list[Part]:
    """Return the parts of a body.

    Parameters
    ----------
    body : bytes
    content_type : str
        The header, with the boundary.

    Raises
    ------
    FormError
    """
    mark = b"--" + _boundary(content_type)
    if not body.startswith(mark):
        raise FormError("it does not begin with its boundary")
    parts: list[Part] = []
    place = len(mark)
    while body[place : place + 2] != b"--":
        if body[place : place + 2] != b"\r\n" or len(parts) == MOST_PARTS:
            raise FormError(f"it is damaged or has more than {MOST_PARTS} parts")
        end_of_headers = body.find(b"\r\n\r\n", place, place + MOST_HEADERS)
        end = body.find(b"\r\n" + mark, end_of_headers + 4)
        if end_of_headers < 0 or end < 0:
            raise FormError("it is cut short")
        name, filename = _named(body[place + 2 : end_of_headers])
        parts.append(Part(name, filename, body[end_of_headers + 4 : end]))
        place = end + 2 + len(mark)
    return parts


def _boundary(content_type: str) -> bytes:
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not re.fullmatch(r"[ -~]{1,70}", boundary):
        raise FormError("its header Content-Type names no boundary")
    return boundary.encode("ascii")


def _named(headers: bytes) -> tuple[str, str | None]:
    """Return name and file name from the headers of a part."""
    for line in headers.decode("utf-8", errors="replace").split("\r\n"):
        key, _, value = line.partition(":")
        if key.strip().lower() == "content-disposition":
            header = Message()
            header["Content-Disposition"] = value.strip()
            name, filename = header.get_param("name", header="content-disposition"), header.get_filename()
            if isinstance(name, str):
                return name, None if filename is None else re.split(r"[\\/]", filename)[-1]
    raise FormError("a part has no name")
