from .judging.check import check
from .making.conversion import convert
from .making.quantization import quantize
from .nets.rewriting import rewrite
from .pipeline import compare, export
from .tflite.timing import machine, measure

__all__ = ["check", "compare", "convert", "export", "machine", "measure", "quantize", "rewrite"]
