from .conversion import convert
from .gates import check
from .measurement import machine, measure
from .pipeline import compare, export
from .quantization import quantize
from .rewriting import rewrite

__all__ = ["check", "compare", "convert", "export", "machine", "measure", "quantize", "rewrite"]
