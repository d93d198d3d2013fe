"""``tt agent-tools``: the town's tools for agents, offered to their coding CLI over the Model Context Protocol (MCP)."""
