"""Heart: one executable that runs Lua web applications."""

__version__ = "2.0.0"
