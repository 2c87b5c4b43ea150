"""What `resdense models` lists."""

from resdense_keras.errors import unknown


def rows(pattern, options):
    """One dict a net of the catalogue that matches `pattern`, built with `options`.

    Without options the numbers come from the table that ships (`catalog.sizes`), so that listing takes no minute.
    """
    from resdense_keras import list_models

    names = list_models(pattern)
    if not names:
        raise unknown("model", pattern, list_models())
    return [_counted(name, options) if options else _known(name) for name in names]


def _known(name):
    from resdense_keras import catalog, weights

    return {"name": name, "family": catalog.family(name), **catalog.sizes()[name], "weights": weights.names(name)}


def _counted(name, options):
    from resdense_keras import catalog, weights

    return {"name": name, "family": catalog.family(name), **catalog.count(name, **options), "weights": weights.names(name)}
