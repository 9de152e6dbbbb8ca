"""Errors that are shown without a traceback."""


class LggError(Exception):
    """An error that the user can fix: the message states what is wrong, where, and what to do next."""


class ConfigError(LggError):
    """The configuration cannot be used."""


class DataError(LggError):
    """A data set, or a file derived from one, cannot be used."""


class SignedRepresentations(LggError, ValueError):
    """A cosine graph was requested for representations with negative values."""


class ModelFileError(LggError):
    """A model file is damaged, or contains a different network than expected."""


class NetworkError(LggError, ValueError):
    """A network cannot be built, or does not have what is asked of it, such as a layer."""


class WeightsError(LggError):
    """A file of weights cannot be used, or does not fit a network."""


class TrainingDiverged(LggError):
    """The loss is no longer a finite number."""


class Interrupted(LggError):
    """Training was asked to stop, and has saved a checkpoint."""
