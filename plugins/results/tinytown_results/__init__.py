"""Results that fit a schema: a task may carry a JSON schema, and its result has to be a value that is valid by it.

Both lie in the table ``meta["results"]`` of the task, and nothing else has to know them: `schema_of` and `value_of` read it.
"""

from __future__ import annotations

from tinytown_results.table import TABLE, schema_of, value_of

__all__ = ["TABLE", "schema_of", "value_of"]
