from .judging.check import Check, check
from .making.conversion import convert
from .making.quantization import quantize
from .nets.rewriting import rewrite
from .pipeline import compare, export
from .tflite.timing import machine, measure

__all__ = ["Check", "check", "compare", "convert", "export", "machine", "measure", "quantize", "rewrite"]
