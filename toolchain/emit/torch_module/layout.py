"""Lines of Python in the layout of `ruff format`: what is too long is broken at its last bracket."""

from __future__ import annotations

WIDTH = 88
INDENT = " " * 4
_PAIRS = {")": "(", "]": "[", "}": "{"}


def laid_out(line: str, depth: int, comment: str = "") -> list[str]:
    """Indent a statement and break it where it is too long; the comment goes behind it, or above where it must."""
    indent = INDENT * depth
    if not comment:
        return _broken(line, indent)
    whole = f"{indent}{line}  # {comment}"
    return [whole] if len(whole) <= WIDTH else [f"{indent}# {comment}", *_broken(line, indent)]


def fits(line: str, depth: int) -> bool:
    """Tell whether a statement needs no breaking."""
    return len(INDENT * depth) + len(line) <= WIDTH


def _broken(line: str, indent: str) -> list[str]:
    """Put the content of the last bracket on a line of its own, or each of its items where that is too long."""
    if len(indent) + len(line) <= WIDTH or not line.rstrip(",")[-1:] or line.rstrip(",")[-1] not in _PAIRS:
        return [indent + line]
    end = len(line.rstrip(",")) - 1
    start = _opening(line, end)
    head, body, tail = line[: start + 1], line[start + 1 : end], line[end:]
    inner = indent + INDENT
    if len(inner) + len(body) <= WIDTH:
        return [indent + head, inner + body, indent + tail]
    items = [text for part in _items(body) for text in _broken(f"{part},", inner)]
    return [indent + head, *items, indent + tail]


def _opening(line: str, end: int) -> int:
    depth = 0
    for place in range(end, -1, -1):
        depth += (line[place] in _PAIRS) - (line[place] in _PAIRS.values())
        if depth == 0:
            return place
    raise ValueError(f"unbalanced brackets: {line}")


def _items(body: str) -> list[str]:
    """Cut at the commas that are in no inner bracket."""
    parts, depth, start = [], 0, 0
    for place, character in enumerate(body):
        depth += (character in _PAIRS.values()) - (character in _PAIRS)
        if character == "," and depth == 0:
            parts.append(body[start:place].strip())
            start = place + 1
    return [*parts, body[start:].strip()]
