"""Why a model cannot be loaded, beside files that are damaged (`weights.diffusers_folder.SourceError`)."""


class UnknownModelError(ValueError):
    """No model goes by that name; the message gives the nearest names."""


class NotLoadableError(ValueError):
    """No picture can be drawn with this file, folder or model, or not as it is asked; the message says why."""
