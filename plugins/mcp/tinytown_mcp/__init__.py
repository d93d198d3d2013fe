"""``tt agent-tools``: what an agent can do in its town, offered to its coding CLI as tools over the Model Context Protocol."""
