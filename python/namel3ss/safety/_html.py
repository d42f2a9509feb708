"""How events and statistics look in a notebook. Texts are escaped: they may come from prompts."""

from __future__ import annotations

from html import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

_TEXT_MAX = 300
"""Characters of a value that are shown."""

# Control characters, and marks that turn the reading direction around or can't be seen.
_HOSTILE = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"  # noqa: PLR2004
    for codes in (
        range(0x20),
        range(0x7F, 0xA0),
        (0x061C, 0x200E, 0x200F, 0xFEFF),
        range(0x2028, 0x202F),
        range(0x2066, 0x206A),
    )
    for code in codes
}
_COLOURS = {"block": "#c62828", "redact": "#b26a00", "alert": "#b26a00", "allow": "#2e7d32"}


def _shown(value: object) -> str:
    text = str(value)
    if len(text) > _TEXT_MAX:
        text = f"{text[:_TEXT_MAX]}…"
    return escape(text.translate(_HOSTILE))


def _table(rows: Iterable[tuple[str, str]]) -> str:
    cells = (
        f'<tr><th style="text-align:left">{name}</th><td style="text-align:left">{value}</td></tr>'
        for name, value in rows
    )
    return f"<table>{''.join(cells)}</table>"


def event(event: Any) -> str:  # noqa: ANN401
    """Show the fields that say something."""
    fields: Mapping[str, Any] = event.to_dict()
    action = str(fields.get("action"))
    rows = [
        (_shown(name), _shown(value))
        for name, value in fields.items()
        if name != "action" and value not in (None, "", [], {})
    ]
    colour = _COLOURS.get(action, "inherit")
    return _table([("action", f'<b style="color:{colour}">{_shown(action)}</b>'), *rows])


def stats(stats: Mapping[str, Any]) -> str:
    """Show whether it is healthy, the equation, and each destination."""
    terms = " + ".join(
        f"{stats[name]:,} {name.removeprefix('total_')}"
        for name in ("total_flushed", "total_fallback", "total_dropped", "pending")
    )
    healthy = "healthy" if stats["healthy"] else f"not healthy: {', '.join(stats['unhealthy'])}"
    colour = _COLOURS["allow" if stats["healthy"] else "block"]
    rows = [
        (_shown(stats["target_dataset"]), f'<b style="color:{colour}">{_shown(healthy)}</b>'),
        ("logged", f"{stats['total_logged']:,} = {terms}"),
    ]
    rows += [
        (_shown(sink["destination"]), f"{sink['flushed']:,} flushed, {sink['pending']:,} pending")
        for sink in stats["sinks"]
    ]
    if stats["last_error"]:
        rows.append(("last error", _shown(stats["last_error"])))
    return _table(rows)
