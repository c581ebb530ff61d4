"""The commands, a file a group; `graphnoise.cli` puts them together."""
