"""The commands of the plugin. Each module is imported when its command is typed."""
