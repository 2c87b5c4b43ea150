"""What `resdense models` lists."""

from resdense_keras.errors import unknown


def rows(pattern, options):
    """One dict a net of the catalogue that matches `pattern`, built with `options`.

    Without options the numbers come from the table that ships (`catalog.sizes`), so that listing takes no minute.
    """
    from resdense_keras import catalog, list_models, weights

    names = list_models(pattern)
    if not names:
        raise unknown("model", pattern, list_models())
    return [
        {
            "name": name,
            "family": catalog.family(name),
            **(catalog.count(name, **options) if options else catalog.sizes()[name]),
            "weights": weights.names(name),
        }
        for name in names
    ]
