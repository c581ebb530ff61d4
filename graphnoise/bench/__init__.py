"""The benchmark: methods by name, one cell of a grid, statistics over cells, tables and plots."""
