"""A network on a described chip: placed, pipelined, with its traffic, buffers, energy and area."""
