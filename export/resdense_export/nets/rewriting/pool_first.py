"""Average, then convolve: less work."""

from dataclasses import replace

from .editing import Editor


def pool_first(nodes):
    """Moves average pooling before the 1x1 convolution that precedes it.

    Why: both are linear, one over channels and one over pixels, so they commute (the bias too: a mean of equal
    numbers). The convolution then runs on the pixels that the pooling leaves: a quarter of them after 2x2 windows. In
    DenseNet-121's transitions this saves 231 of its 2,834 M multiply-adds.
    Pattern: Conv2D 1x1 of stride 1 -> AveragePooling2D of any size, and nothing else reads the convolution.
    """
    graph = Editor(nodes)
    for pool in graph.kinds("AveragePooling2D"):
        convolution = graph.source(pool)
        why = _obstacle(graph, convolution)
        if why:
            graph.kept(pool, why)
            continue
        before = graph.source(convolution)
        first = replace(pool, inputs=(before.name,), shape=(*pool.shape[:-1], before.channels))
        graph.put(first)
        for user in graph.users(first):
            if user.name != convolution.name:
                inputs = tuple(convolution.name if name == pool.name else name for name in user.inputs)
                graph.change(user, inputs=inputs)
        graph.change(convolution, inputs=(pool.name,), shape=pool.shape)
        graph.changed(pool)
    return graph.done()


def _obstacle(graph, convolution):
    if convolution.kind != "Conv2D":
        return f"{convolution.name} before it is {convolution.kind}"
    settings = convolution.attributes
    if settings["kernel_size"] != (1, 1) or settings["strides"] != (1, 1):
        return f"{convolution.name} before it is not a 1x1 convolution of stride 1"
    if graph.sole_user(convolution) is None:
        return f"{convolution.name} before it is read by others too"
    return None
