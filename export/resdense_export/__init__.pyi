from .pipeline import compare, export

__all__ = ["compare", "export"]
