"""The one error that people see without a traceback."""


class LggError(Exception):
    """A mistake that a person can mend: the message says what is wrong, where, and what to do next."""


class ConfigError(LggError):
    """The configuration cannot be used."""


class DataError(LggError):
    """A data set, or a file made from one, cannot be used."""


class SignedRepresentations(LggError, ValueError):
    """A cosine graph was asked of representations with negative values."""


class ModelFileError(LggError):
    """A model file is damaged, or holds another network than the one expected."""


class TrainingDiverged(LggError):
    """The loss is no longer a finite number."""


class Interrupted(LggError):
    """A training was asked to end, and has written where it was."""
