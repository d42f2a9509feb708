"""Runs three guardrails over real text and records every decision: the example of the README.

    python examples/guard_text.py [FILE or FOLDER ...]

E-mail addresses are redacted, payment cards (issuer prefix and Luhn) blocked, IPv4 addresses
reported; a line without any of them is allowed. Without arguments it reads the copyright notices
under /usr/share/doc. The decisions go to the default dataset, an SQLite file; a second run adds.
"""

from __future__ import annotations

import os
import re
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from namel3ss.safety import SafetyAction, SafetyEvent, SafetyEventLogger

EMAIL = re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}\b")
CARD = re.compile(r"\b(?:4\d{3}|5[1-5]\d{2}|3[47]\d{2}|6011)(?:[ -]?\d){8,15}\b")
IPV4 = re.compile(
    r"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w.])"
)
LINE_CHARS_MAX = 2000


def luhn(digits: str) -> bool:
    """Whether the check digit of a card's number is right."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value  # noqa: PLR2004
    return total % 10 == 0


def decide(line: str) -> Iterator[tuple[str, SafetyAction, list[str]]]:
    """Yield policy, action and categories of each hit; one ``allow`` where there is none."""
    hits = 0
    if "@" in line and EMAIL.search(line):
        hits += 1
        yield "email", SafetyAction.REDACT, ["pii.email"]
    if any(luhn(re.sub(r"\D", "", found.group())) for found in CARD.finditer(line)):
        hits += 1
        yield "card", SafetyAction.BLOCK, ["pii.card"]
    if IPV4.search(line):
        hits += 1
        yield "network", SafetyAction.ALERT, ["pii.ip"]
    if not hits:
        yield "all", SafetyAction.ALLOW, []


def files(arguments: list[str]) -> Iterator[Path]:
    """Yield the files that are meant."""
    for given in arguments:
        path = Path(given)
        yield from (sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path])
    if not arguments:
        yield from sorted(Path("/usr/share/doc").glob("*/copyright"))


def main() -> int:
    """Read, decide, record, and show what the dataset then holds."""
    logger = SafetyEventLogger(buffer_size=1000).bind(app_name="guard_text")
    lines = 0
    began = time.perf_counter()
    with logger:
        for path in files(sys.argv[1:]):
            try:
                text = path.read_text(encoding="utf-8", errors="replace")
            except OSError as error:
                print(f"passed over {path}: {error.strerror}", file=sys.stderr)
                continue
            for number, line in enumerate(text.splitlines(), 1):
                lines += 1
                for policy, action, categories in decide(line[:LINE_CHARS_MAX]):
                    logger.log(
                        SafetyEvent(
                            policy_name=policy,
                            action=action,
                            categories=categories,
                            metadata={"file": str(path), "line": number},
                        )
                    )
    took = time.perf_counter() - began
    stats = logger.get_stats()
    print(f"{lines:,} lines read, decided and in the dataset after {took:.2f} s")
    print(
        f"logged {stats['total_logged']} = {stats['total_flushed']} flushed + "
        f"{stats['total_fallback']} fallback + {stats['total_dropped']} dropped + "
        f"{stats['pending']} pending"
    )
    home = os.environ.get("NAMEL3SS_SAFETY_HOME") or os.path.join(
        os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"), "namel3ss/safety"
    )
    dataset = Path(home, "safety_events.db")
    with sqlite3.connect(f"file:{dataset}?mode=ro", uri=True) as database:
        counted = database.execute(
            "select policy_name, action, count(*) from safety_events group by 1, 2 order by 1, 2"
        )
        for policy, action, count in counted:
            # A line that no policy minded has none.
            print(f"  {policy or '-':<13} {action:<8} {count:>10,}")
    print(f"all of it: {dataset}")
    return 0 if stats["total_flushed"] == stats["total_logged"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
