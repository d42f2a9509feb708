"""A small guardrail: takes e-mail addresses out of prompts, and records what it decided.

Run it with a prompt, or without one:  python examples/guard_prompt.py "write to a@b.org"
"""

from __future__ import annotations

import asyncio
import re
import sys

from namel3ss.safety import (
    AdapterRegistry,
    MemoryAdapter,
    SafetyAction,
    SafetyEvent,
    SafetyEventLogger,
    SafetyViolation,
    create_safety_event_from_enforcement,
    guard,
)

EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+")


async def check(prompt: str, logger: SafetyEventLogger) -> str:
    """Return the prompt without addresses."""
    async with guard("pii_policy", "input", logger=logger, app_name="example") as decision:
        clean, found = EMAIL.subn("[email]", prompt)
        if found:
            decision.redact(categories=["email"], severity="medium", addresses=found)
    return clean


async def main() -> None:
    """Check one prompt, and show what was recorded."""
    prompt = " ".join(sys.argv[1:]) or "Write to jane@example.org, please."
    adapter = MemoryAdapter()
    registry = AdapterRegistry()
    registry.register("safety_events", adapter)
    async with SafetyEventLogger(adapter_registry=registry, buffer_size=10) as logger:
        clean = await check(prompt, logger)
        await logger.log(SafetyEvent(policy_name="length", latency_ms=0.1))
        if not clean.strip():
            violation = SafetyViolation(["empty"], reason="nothing was left")
            event = create_safety_event_from_enforcement(
                "input", SafetyAction.BLOCK, violation, 0.1
            )
            await logger.log(event)
        await logger.flush()
    sys.stdout.write(f"{clean}\n")
    for row in adapter.records:
        sys.stdout.write(f"{row['policy_name']}: {row['action']} {row['metadata']}\n")


if __name__ == "__main__":
    asyncio.run(main())
