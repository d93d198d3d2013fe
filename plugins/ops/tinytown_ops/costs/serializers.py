"""What accounts, costs and budgets look like in JSON. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
from tinytown_ops.costs.ledger import Account, Budget, CostRow


def account_shape(account: Account) -> dict[str, Any]:
    """What agents share with their vendor; ``parked_until`` is null unless it is throttled."""
    shape: dict[str, Any] = msgspec.to_builtins(account)
    return shape


def cost_shape(row: CostRow) -> dict[str, Any]:
    """What some rounds have cost; ``usd`` is null when no price is known."""
    shape: dict[str, Any] = msgspec.to_builtins(row)
    return shape


def budget_shape(budget: Budget) -> dict[str, Any]:
    """A budget; what is spent of it is null where each agent or task has its own."""
    shape: dict[str, Any] = msgspec.to_builtins(budget)
    return shape
