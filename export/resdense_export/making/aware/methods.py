"""How a trained net is trained further, as data; every number has its source."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """One method of further training.

    Attributes:
        summary: One line for people.
        learning_rate: Start of a cosine, for Adam and batches of `batch_size`. A net whose batch norms are folded has
            layers of very different scale: SGD with momentum at 1e-4 took a trained ResNet-20 from 0.998 to 0.126 in
            ten steps, even without rounding.
        images: Number of training images seen in all; where the data are fewer, some are seen more than once.
        sparsity: Share of the kernels' weights that becomes zero, see `worker.sparsities`; 0 prunes nothing.
        rounds: Number of times that the weights are judged on held-out training images; the best weights are kept.
    """

    summary: str
    learning_rate: float
    images: int
    sparsity: float = 0.0
    rounds: int = 4
    batch_size: int = 128


METHODS = {
    # Jacob et al. 2018, arXiv:1712.05877, section 3. A step of int8 is about 2e-3 of a folded kernel's values; 157
    # steps of a cosine from 1e-5 can move a weight by nearly half of one, which turns the rounding of many.
    "quantization": Method("weights trained to be rounded to int8", learning_rate=1e-5, images=20_000),
    # Zhu and Gupta 2017, arXiv:1710.01878: sparsity rises with a cubic polynomial while the net trains on.
    "pruning": Method("half of the weights are zero", learning_rate=5e-4, images=60_000, sparsity=0.5),
}
