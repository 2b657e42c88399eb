"""FeatBit behind OpenFeature's interface: ``pip install 'fbshared[openfeature]'``::

    from openfeature import api
    from fbshared.openfeature import FeatBitProvider

    api.set_provider_and_wait(FeatBitProvider(config))
    api.get_client().get_boolean_value("checkout-v2", False, EvaluationContext("u1", {"plan": "pro"}))

Register it once, where the application starts: it works in every process that is forked afterwards.
"""

try:
    import openfeature.provider  # noqa: F401 - only whether it is there
except ModuleNotFoundError as error:  # pragma: no cover - where the extra is missing
    raise ModuleNotFoundError(
        "fbshared.openfeature needs openfeature-sdk: pip install 'fbshared[openfeature]'", name=error.name
    ) from error

from fbshared.openfeature.provider import FeatBitProvider

__all__ = ["FeatBitProvider"]
